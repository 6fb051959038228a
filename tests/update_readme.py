"""Writes the table of engines into README.md: `python tests/update_readme.py`.

Rules, fixtures and lines are counted by replaying the fixtures.
"""

import sys
from pathlib import Path

from takopi.adapters.catalog import load_catalog
from takopi.adapters.fixtures import check_fixtures, find_cases
from takopi.config import Config

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
BEGIN = "<!-- engines: written by tests/update_readme.py -->\n"
END = "<!-- /engines -->\n"


def table() -> str:
    """The Markdown table, a row per built-in engine."""
    catalog = load_catalog(Config(ROOT / "no-config.toml"))
    rows = [
        "| engine | CLI | install | tested with | rules | fixtures | lines |",
        "|---|---|---|---|---|---|---|",
    ]
    for engine in catalog.ids:
        adapter = catalog.adapter(engine)
        spec = adapter.spec
        report = check_fixtures(adapter, find_cases(ROOT / "fixtures/streams" / engine))
        install = spec.install or ""
        install = f"`{install}`" if " " in install and not install.startswith("it ") else install
        base = f" + `{spec.extends}`" if spec.extends else ""
        rows.append(
            f"| `{engine}` | {spec.name} | {install} | {spec.tested} "
            f"| {report.own_rules}{base} | {len(report.cases)} | {report.lines} |"
        )
    return "\n".join(rows) + "\n"


def updated(text: str) -> str:
    """README's text with the table of now."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table() + END + after


if __name__ == "__main__":
    README.write_text(updated(README.read_text(encoding="utf-8")), encoding="utf-8")
    sys.exit(0)
