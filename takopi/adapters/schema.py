"""The JSON Schema of adapter files, for editors: ``schemas/adapter.schema.json``.

``python -m takopi.adapters.schema FILE`` writes it, without FILE to stdout. It says what the models
say about shape, and what only a whole file tells: with ``extends``, keys may be left out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from takopi.adapters.model import EXPRESSION_TYPES, EXTENDABLE_LISTS, NEVER_INHERITED, AdapterSpec

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ID = "https://takopi.dev/schemas/adapter.schema.json"
_COMMENT = (
    "Generated from takopi/adapters/model.py by `python -m takopi.adapters.schema`; do not edit"
)
_EXPRESSION = "; a JMESPath expression, a template with `${ EXPR }`, or a mapping or list of these"


def adapter_schema() -> dict[str, Any]:
    """The schema as JSON data."""
    models = _cleaned(AdapterSpec.model_json_schema(by_alias=True))
    definitions = models.pop("$defs")
    required = models.pop("required")
    for key in EXTENDABLE_LISTS:
        items = models["properties"][key]["items"]
        inherit = {"const": "inherit", "description": "stands for the parent's items"}
        models["properties"][key]["items"] = {"anyOf": [items, inherit]}
    inheritable = [key for key in required if key not in NEVER_INHERITED and key != "adapter"]
    return {
        "$comment": _COMMENT,
        "$schema": DIALECT,
        "$id": ID,
        "title": "takopi adapter",
        "description": models.pop("description"),
        **models,
        "required": [key for key in required if key not in inheritable],
        "if": {"required": ["extends"]},
        "else": {
            "required": inheritable,
            "properties": {
                key: {"items": {"not": {"const": "inherit"}}} for key in EXTENDABLE_LISTS
            },
        },
        "$defs": definitions,
    }


def _cleaned(schema: Any, *, names: bool = False) -> Any:
    """The schema without the titles and null defaults that pydantic adds and nobody reads.

    ``names`` is true of mappings whose keys are an adapter's, not JSON Schema's.
    """
    if isinstance(schema, list):
        return [_cleaned(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    noise = () if names else ("title",)
    out = {
        key: _cleaned(value, names=not names and key in ("properties", "$defs"))
        for key, value in schema.items()
        if key not in noise and not (key == "default" and value is None)
    }
    if not names and "patternProperties" in out:
        out["additionalProperties"] = False
    if out.get("type") == EXPRESSION_TYPES and "description" in out:
        out["description"] += _EXPRESSION
    return out


def render() -> str:
    """The schema as the text of its file, which says on its first line that it is generated."""
    text = json.dumps(adapter_schema(), indent=2, ensure_ascii=False)
    return text.replace("{\n  ", "{ ", 1) + "\n"


def main(arguments: list[str]) -> int:
    """Write the schema to the file named, or to stdout."""
    if len(arguments) > 1:
        print("usage: python -m takopi.adapters.schema [FILE]", file=sys.stderr)
        return 2
    if arguments:
        Path(arguments[0]).write_text(render(), encoding="utf-8")
    else:
        print(render(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
