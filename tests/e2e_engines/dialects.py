"""How model servers speak: one reply, in the four streaming dialects coding CLIs understand.

Each dialect can say which tools a request offers, and render a `Reply` as server-sent events or as
one JSON document. Shapes as the vendors' API references describe them; what the CLIs ignore is left
out.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

_TOKENS_IN, _TOKENS_OUT = 100, 20
_numbers = count(1)


@dataclass(frozen=True)
class Tool:
    """A tool the CLI offers to the model; ``schema`` is the JSON schema of its arguments."""

    name: str
    schema: Mapping[str, Any]
    namespace: str | None = None


@dataclass(frozen=True)
class Call:
    """The model's wish to use a tool."""

    tool: Tool
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Reply:
    """What the model answers: some text, a tool call, or both in this order."""

    text: str | None = None
    call: Call | None = None


Frame = tuple[str | None, Mapping[str, Any]]  # name of a server-sent event, and its data


def dialect_of(path: str) -> str | None:
    """The dialect spoken at a URL's path; None for what is no model request."""
    if path.endswith("/chat/completions"):
        return "chat"
    if path.endswith("/responses"):
        return "responses"
    if path.endswith("/messages"):
        return "messages"
    if re.search(r"/models/[^/]+:(streamGenerateContent|generateContent)$", path):
        return "gemini"
    return None


def wants_stream(dialect: str, path: str, body: Mapping[str, Any]) -> bool:
    """Whether the answer must be server-sent events."""
    if dialect == "gemini":
        return path.endswith(":streamGenerateContent")
    return bool(body.get("stream"))


def offered_tools(dialect: str, body: Mapping[str, Any]) -> list[Tool]:
    """The tools of a request whose arguments are JSON."""
    raw = list(body.get("tools") or [])
    if dialect == "responses":  # newer models get some of them as an item of the conversation
        items = body.get("input")
        for item in items if isinstance(items, list) else []:
            if item.get("type") == "additional_tools":
                raw += item.get("tools") or []
    return list(_flat(dialect, raw, None))


def _flat(dialect: str, raw: Sequence[Any], namespace: str | None) -> Iterator[Tool]:
    for tool in raw:
        if dialect == "gemini":
            for function in tool.get("functionDeclarations") or []:
                schema = function.get("parametersJsonSchema") or function.get("parameters") or {}
                yield Tool(function["name"], schema)
        elif dialect == "chat":
            function = tool.get("function") or {}
            if "name" in function:
                yield Tool(function["name"], function.get("parameters") or {})
        elif dialect == "messages":
            yield Tool(tool["name"], tool.get("input_schema") or {})
        elif tool.get("type") == "namespace":
            yield from _flat(dialect, tool.get("tools") or [], tool.get("name"))
        elif tool.get("type") == "function":
            yield Tool(tool["name"], tool.get("parameters") or {}, namespace)


def error_body(dialect: str, status: int, message: str) -> dict[str, Any]:
    """The document that comes with an HTTP error."""
    if dialect == "messages":
        return {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
    if dialect == "gemini":
        return {"error": {"code": status, "message": message, "status": "INVALID_ARGUMENT"}}
    return {"error": {"message": message, "type": "invalid_request_error", "code": None}}


def frames(dialect: str, reply: Reply, model: str) -> Iterator[Frame]:
    """The reply as server-sent events."""
    return _STREAMS[dialect](reply, model)


def document(dialect: str, reply: Reply, model: str) -> Mapping[str, Any]:
    """The reply as one JSON document, for requests that want no stream."""
    return _DOCUMENTS[dialect](reply, model)


def _new(prefix: str) -> str:
    return f"{prefix}_e2e{next(_numbers):05d}"


def _pieces(text: str) -> Iterator[str]:
    """Text in pieces, as models stream it."""
    return (text[i : i + 12] for i in range(0, len(text), 12))


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


# -- OpenAI Chat Completions -----------------------------------------------------------------


def _chat_stream(reply: Reply, model: str) -> Iterator[Frame]:
    head = {"id": _new("chatcmpl"), "object": "chat.completion.chunk", "created": int(time.time())}

    def chunk(delta: Mapping[str, Any], finish: str | None = None) -> Frame:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return None, {**head, "model": model, "choices": [choice]}

    yield chunk({"role": "assistant", "content": ""})
    for piece in _pieces(reply.text or ""):
        yield chunk({"content": piece})
    if reply.call is not None:
        yield chunk({"tool_calls": [{"index": 0, **_chat_call(reply.call)}]})
    yield chunk({}, "tool_calls" if reply.call else "stop")
    yield None, {**head, "model": model, "choices": [], "usage": _chat_usage()}


def _chat_document(reply: Reply, model: str) -> Mapping[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    if reply.call is not None:
        message["tool_calls"] = [_chat_call(reply.call)]
    finish = "tool_calls" if reply.call else "stop"
    return {
        "id": _new("chatcmpl"),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": _chat_usage(),
    }


def _chat_call(call: Call) -> dict[str, Any]:
    function = {"name": call.tool.name, "arguments": _json(call.arguments)}
    return {"id": _new("call"), "type": "function", "function": function}


def _chat_usage() -> dict[str, int]:
    return {
        "prompt_tokens": _TOKENS_IN,
        "completion_tokens": _TOKENS_OUT,
        "total_tokens": _TOKENS_IN + _TOKENS_OUT,
    }


# -- OpenAI Responses ------------------------------------------------------------------------


def _responses_stream(reply: Reply, model: str) -> Iterator[Frame]:
    numbers = count()

    def event(name: str, **data: Any) -> Frame:
        return name, {"type": name, "sequence_number": next(numbers), **data}

    begun = {"id": _new("resp"), "object": "response", "created_at": int(time.time())}
    begun |= {"model": model, "status": "in_progress", "output": []}
    yield event("response.created", response=begun)
    items = _responses_items(reply)
    for index, item in enumerate(items):
        place = {"output_index": index, "item_id": item["id"]}
        yield event("response.output_item.added", output_index=index, item=_unfilled(item))
        if item["type"] == "message":
            part = {"type": "output_text", "text": "", "annotations": []}
            yield event("response.content_part.added", content_index=0, part=part, **place)
            for piece in _pieces(reply.text or ""):
                yield event("response.output_text.delta", content_index=0, delta=piece, **place)
            done = item["content"][0]
            yield event("response.output_text.done", content_index=0, text=done["text"], **place)
            yield event("response.content_part.done", content_index=0, part=done, **place)
        else:
            arguments = item["arguments"]
            yield event("response.function_call_arguments.delta", delta=arguments, **place)
            yield event("response.function_call_arguments.done", arguments=arguments, **place)
        yield event("response.output_item.done", output_index=index, item=item)
    ended = {**begun, "status": "completed", "output": items, "usage": _responses_usage()}
    yield event("response.completed", response=ended)


def _unfilled(item: Mapping[str, Any]) -> dict[str, Any]:
    """An output item as it is announced."""
    empty = {"status": "in_progress"}
    if item["type"] == "message":
        return {**item, **empty, "content": []}
    return {**item, **empty, "arguments": ""}


def _responses_items(reply: Reply) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if reply.text is not None:
        content = {"type": "output_text", "text": reply.text, "annotations": []}
        items.append({"id": _new("msg"), "type": "message", "role": "assistant"})
        items[-1] |= {"status": "completed", "content": [content]}
    if reply.call is not None:
        tool = reply.call.tool
        items.append({"id": _new("fc"), "type": "function_call", "status": "completed"})
        items[-1] |= {"call_id": _new("call"), "name": tool.name}
        items[-1] |= {"arguments": _json(reply.call.arguments)}
        items[-1] |= {"namespace": tool.namespace} if tool.namespace else {}
    return items


def _responses_document(reply: Reply, model: str) -> Mapping[str, Any]:
    *_, (_, last) = _responses_stream(reply, model)
    response: Mapping[str, Any] = last["response"]
    return response


def _responses_usage() -> dict[str, Any]:
    return {
        "input_tokens": _TOKENS_IN,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": _TOKENS_OUT,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": _TOKENS_IN + _TOKENS_OUT,
    }


# -- Anthropic Messages ----------------------------------------------------------------------


def _messages_stream(reply: Reply, model: str) -> Iterator[Frame]:
    def event(name: str, **data: Any) -> Frame:
        return name, {"type": name, **data}

    whole = dict(_messages_document(reply, model))
    yield event("message_start", message={**whole, "content": [], "stop_reason": None})
    for index, block in enumerate(whole["content"]):
        if block["type"] == "text":
            empty, kind, field = {**block, "text": ""}, "text_delta", "text"
            pieces = _pieces(block["text"])
        else:
            empty, kind, field = {**block, "input": {}}, "input_json_delta", "partial_json"
            pieces = _pieces(_json(block["input"]))
        yield event("content_block_start", index=index, content_block=empty)
        for piece in pieces:
            yield event("content_block_delta", index=index, delta={"type": kind, field: piece})
        yield event("content_block_stop", index=index)
    delta = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield event("message_delta", delta=delta, usage={"output_tokens": _TOKENS_OUT})
    yield event("message_stop")


def _messages_document(reply: Reply, model: str) -> Mapping[str, Any]:
    content: list[dict[str, Any]] = []
    if reply.text is not None:
        content.append({"type": "text", "text": reply.text})
    if reply.call is not None:
        name, arguments = reply.call.tool.name, dict(reply.call.arguments)
        content.append({"type": "tool_use", "id": _new("toolu"), "name": name, "input": arguments})
    return {
        "id": _new("msg"),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": "tool_use" if reply.call else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": _TOKENS_IN, "output_tokens": _TOKENS_OUT},
    }


# -- Gemini ----------------------------------------------------------------------------------


def _gemini_stream(reply: Reply, model: str) -> Iterator[Frame]:
    head = {"modelVersion": model, "responseId": _new("resp")}

    def chunk(parts: list[dict[str, Any]], **candidate: Any) -> Mapping[str, Any]:
        content = {"role": "model", "parts": parts}
        return {**head, "candidates": [{"index": 0, "content": content, **candidate}]}

    for piece in _pieces(reply.text or ""):
        yield None, chunk([{"text": piece}])
    if reply.call is not None:
        yield None, chunk([_gemini_call(reply.call)])
    yield None, {**chunk([{"text": ""}], finishReason="STOP"), "usageMetadata": _gemini_usage()}


def _gemini_document(reply: Reply, model: str) -> Mapping[str, Any]:
    parts: list[dict[str, Any]] = [{"text": reply.text}] if reply.text is not None else []
    if reply.call is not None:
        parts.append(_gemini_call(reply.call))
    content = {"role": "model", "parts": parts}
    return {
        "modelVersion": model,
        "candidates": [{"index": 0, "content": content, "finishReason": "STOP"}],
        "usageMetadata": _gemini_usage(),
    }


def _gemini_call(call: Call) -> dict[str, Any]:
    function = {"name": call.tool.name, "args": dict(call.arguments)}
    return {"functionCall": function, "thoughtSignature": "ZTJl"}


def _gemini_usage() -> dict[str, int]:
    return {
        "promptTokenCount": _TOKENS_IN,
        "candidatesTokenCount": _TOKENS_OUT,
        "totalTokenCount": _TOKENS_IN + _TOKENS_OUT,
    }


_STREAMS = {
    "chat": _chat_stream,
    "responses": _responses_stream,
    "messages": _messages_stream,
    "gemini": _gemini_stream,
}
_DOCUMENTS = {
    "chat": _chat_document,
    "responses": _responses_document,
    "messages": _messages_document,
    "gemini": _gemini_document,
}
