"""Parameters of a call: decoding the body, and reading values as leniently as the Bot API does."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote


class ApiError(Exception):
    """An answer with ``ok: false``; the HTTP status is the same code."""

    def __init__(
        self, code: int, description: str, parameters: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(f"{code} {description}")
        self.code = code
        self.description = description
        self.parameters = dict(parameters or {})


def bad_request(what: str, **parameters: Any) -> ApiError:
    return ApiError(400, f"Bad Request: {what}", parameters)


@dataclass(frozen=True)
class Upload:
    """A file part of a multipart body."""

    name: str
    data: bytes
    mime_type: str | None = None


@dataclass
class Params:
    """The parameters as sent; nested values may be JSON in a string."""

    values: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Upload] = field(default_factory=dict)

    def names(self) -> set[str]:
        return {*self.values, *self.files}

    def integer(self, name: str) -> int | None:
        value = self.values.get(name)
        if value is None or value == "":
            return None
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, str) and re.fullmatch(r"\s*-?\d+\s*", value):
            return int(value)
        raise bad_request(f'parameter "{name}" must be an integer')

    def text(self, name: str) -> str | None:
        value = self.values.get(name)
        if value is None or isinstance(value, str):
            return value
        raise bad_request(f'parameter "{name}" must be a string')

    def flag(self, name: str) -> bool:
        return str(self.values.get(name, False)).lower() in ("true", "1")

    def nested(self, name: str) -> Any:
        """A list or an object, decoded if it came as text."""
        value = self.values.get(name)
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError:
            raise bad_request(f"can't parse {name} JSON object") from None


def decode_params(query: str, content_type: str, body: bytes) -> Params:
    """Query and body together; the body's values win."""
    params = Params(dict(parse_qsl(query, keep_blank_values=True)))
    kind, _, options = content_type.partition(";")
    kind = kind.strip().lower()
    if not body:
        return params
    if kind == "application/json":
        try:
            values = json.loads(body)
        except ValueError:
            values = None
        if not isinstance(values, dict):
            raise bad_request("can't parse request JSON object")
        params.values |= values
    elif kind == "application/x-www-form-urlencoded":
        params.values |= dict(parse_qsl(body.decode(), keep_blank_values=True))
    elif kind == "multipart/form-data":
        boundary = re.search(r'boundary="?([^";]+)', options)
        if boundary is None:
            raise bad_request("can't parse multipart body")
        _decode_multipart(body, boundary[1].encode(), params)
    return params


def _decode_multipart(body: bytes, boundary: bytes, params: Params) -> None:
    delimiter = b"\r\n--" + boundary
    for part in (b"\r\n" + body).split(delimiter)[1:-1]:
        head, _, data = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head.decode().split("\r\n"))
        }
        disposition = headers.get("content-disposition", "")
        name = _option(disposition, "name")
        filename = _option(disposition, "filename")
        if name is None:
            raise bad_request("can't parse multipart body")
        if filename is None:
            params.values[name] = data.decode()
        else:
            params.files[name] = Upload(filename, data, headers.get("content-type"))


def _option(disposition: str, name: str) -> str | None:
    extended = re.search(rf"(?:^|[; ]){name}\*=utf-8''([^;]+)", disposition, re.IGNORECASE)
    if extended:
        return unquote(extended[1])
    plain = re.search(rf'(?:^|[; ]){name}="([^"]*)"', disposition)
    return plain[1].replace("%22", '"') if plain else None
