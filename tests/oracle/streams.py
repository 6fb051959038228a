"""What takopi must report for a recorded engine stream, told without any adapter.

A second opinion: plain Python written from the descriptions of the CLIs (codex 0.169 and 0.77,
claude 2.1.329 and 2.0.76, gemini 0.61, opencode 1.18 and 1.1, kilo 7.7, pi 0.87 and 0.73, copilot
1.0.102, kimi 2.1, vibe 3.0, qwen 0.24). It shares no code with the adapter language, so the two agree
only where both are right, or where both misread the same sentence.
"""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

ENGINES = ("codex", "claude", "gemini", "opencode", "kilo", "pi", "copilot", "kimi", "vibe", "qwen")


@dataclass(frozen=True)
class Tool:
    """One tool call of the stream, in its last known state."""

    id: str | None
    """The engine's own id of the call."""
    name_or_command: str
    """The command text for shells (without a ``bash -lc`` wrapper), else the tool's name; codex
    items that have no name of their own give their type."""
    kind: str
    ok: bool | None
    """None: it never finished."""
    exit_code: int | None
    """None: the engine does not print one."""


@dataclass(frozen=True)
class Expected:
    """The outcome of one run, as far as the stream and the descriptions determine it."""

    ok: bool
    answer: str | None
    """The exact answer; on a failure, what the run had said before. None: not determined."""
    error_contains: str | None
    """Words the error must hold. None: the run is ok, or nothing gives it any words."""
    session: str | None
    """Token of the `StartedEvent`; None: there must be none."""
    tools: tuple[Tool, ...]
    usage: dict[str, float]
    """The normal keys that the CLI prints a number for."""
    asked: str | None = None
    """The session the run was told to resume. When another one came (a failure), the error names
    this one as well, and `CompletedEvent.resume` carries it."""


@dataclass
class _Story:
    """What is known after some lines of a stream."""

    session: str | None = None
    text: str = ""
    """What the model itself said last."""
    answer: str | None = ""
    """What the outcome gives as answer; counts only when it is a good one."""
    outcome: bool | None = None
    error: str | None = None
    warning: str | None = None
    tools: dict[str, Tool] = field(default_factory=dict)
    usage: dict[str, float] = field(default_factory=dict)
    message: str | None = None
    """The id of the message that `text` is of, where a message comes in parts."""
    unfinished: str = ""
    """The pieces of a message that is not complete yet."""

    def tool(self, tool: Tool) -> None:
        """A call seen again keeps its place in the order of first appearance."""
        self.tools[tool.id or f"#{len(self.tools)}"] = tool


def expect(engine: str, lines: bytes, meta: Mapping[str, Any]) -> Expected:
    """The expectation for one recording; ``meta`` is its ``.meta.json``."""
    read_line = _READERS[engine]
    asked = asked_session(engine, meta)
    story = _Story()
    objects = json_objects(lines)
    for line in objects:
        found = _session_of(engine, line)
        if story.session is None and found:
            story.session = _opened(engine, asked, found)
            if story.session is None:
                # The run is ended here: nothing that follows belongs to the conversation.
                tools = tuple(story.tools.values())
                return Expected(False, story.text, found, None, tools, {}, asked)
        read_line(story, line)
    if engine in _NO_CLOSING_LINE and story.outcome is None:
        _end_of_output(story, good=bool(objects) and not meta.get("exit_code"))
    ok = story.outcome is True
    return Expected(
        ok=ok,
        answer=story.answer if ok else story.text,
        error_contains=None if ok else _words_of_failure(story, meta, bool(objects)),
        session=story.session,
        tools=tuple(story.tools.values()),
        usage=story.usage,
        asked=asked,
    )


def recordings(engine: str, root: Path) -> Iterator[tuple[str, bytes, dict[str, Any]]]:
    """Name, stdout and meta of every recording: ``NAME.jsonl`` or ``NAME/stream.jsonl``."""
    folder = Path(root) / engine
    found = {
        path.stem: (path, path.with_name(f"{path.stem}.meta.json"))
        for path in folder.glob("*.jsonl")
    }
    found |= {
        path.parent.name: (path, path.with_name("meta.json"))
        for path in folder.glob("*/stream.jsonl")
    }
    for name in sorted(found):
        stream, meta = found[name]
        told = json.loads(meta.read_text("utf-8")) if meta.exists() else {}
        yield name, stream.read_bytes(), told


def json_objects(lines: bytes) -> list[dict[str, Any]]:
    """The lines that are JSON objects; of a key given twice the last value counts."""
    objects = []
    for line in lines.split(b"\n"):
        try:
            value = json.loads(line.decode("utf-8", "replace"))
        except ValueError:
            continue
        if isinstance(value, dict):
            objects.append(value)
    return objects


# -- sessions ---------------------------------------------------------------------------------


def asked_session(engine: str, meta: Mapping[str, Any]) -> str | None:
    """The session that the command line named; None for a new run, "the newest", and a fork."""
    if "resume" in meta:
        token = meta["resume"]
        return str(token) if token else None
    argv = [str(word) for word in meta.get("argv", ())]
    if "--" in argv:
        argv = argv[: argv.index("--")]
    if "--fork-session" in argv or "--fork" in argv:
        return None
    flags = {
        "codex": ("resume",),
        "claude": ("--resume", "-r"),
        "gemini": ("--resume", "-r"),
        "copilot": ("--resume", "-r"),
        "kimi": ("--session", "-S", "-r"),
        "vibe": ("--resume",),
        "qwen": ("--resume", "-r"),
        "opencode": ("--session", "-s"),
        "kilo": ("--session", "-s"),
        "pi": ("--session",),
    }
    for word, following in itertools.pairwise([*argv, "-"]):
        flag, _, value = word.partition("=")
        if flag in flags[engine]:
            value = value or following
            newest = value.startswith("-") or value == "latest" or value.isdecimal()
            return None if newest else value
    return None


def _session_of(engine: str, line: dict[str, Any]) -> str | None:
    if engine == "codex":
        found = line.get("thread_id") if line.get("type") == "thread.started" else None
    elif engine in ("claude", "qwen"):
        # A lone failed result is how an unknown session ends; its id exists nowhere.
        orphan = line.get("type") == "result" and _claude_failed(line)
        found = None if orphan else line.get("session_id")
    elif engine in ("opencode", "kilo"):
        found = line.get("sessionID")
    elif engine == "pi":
        found = line.get("id") if line.get("type") == "session" else None
    elif engine == "copilot":
        found = line.get("sessionId") if line.get("type") == "result" else None
    elif engine == "kimi":
        found = line.get("session_id") if line.get("type") == "session.resume_hint" else None
    elif engine == "vibe":
        found = line.get("sessionId")
    else:
        found = line.get("session_id") if line.get("type") == "init" else None
    return found if isinstance(found, str) and found else None


def _opened(engine: str, asked: str | None, found: str) -> str | None:
    """The token of the session that calls itself ``found``; None: it is not the one asked for."""
    if not asked or found == asked:
        return found
    if engine == "pi" and ("/" in asked or asked.endswith(".jsonl")):
        return asked  # a file resumes by its path, from every directory
    if engine == "copilot":
        return found  # a name resumes as well
    if engine == "pi" and found.startswith(asked):
        return found  # the beginning of an id is enough, but says less than the id
    return None


# -- failures ---------------------------------------------------------------------------------


def _words_of_failure(story: _Story, meta: Mapping[str, Any], any_json: bool) -> str | None:
    """The engine's own words, else what a failure without any must carry."""
    if story.error and story.error.strip():
        return _innermost(story.error)
    exit_code = meta.get("exit_code") or 0
    if story.outcome is None and exit_code == 0 and any_json:
        return "finished without a result event"
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", meta.get("stderr") or "")
    said = [line.strip() for line in plain.splitlines() if line.strip()]
    if said:
        return said[-1]
    # From 128 on, and below 0, the signal may be named instead of the code.
    return str(exit_code) if 0 < exit_code < 128 else None


def _innermost(message: str) -> str:
    """The human words of a message that wraps JSON: they stand in it, unwrapped or not."""
    start, end = message.find("{"), message.rfind("}")
    try:
        value = json.loads(message[start : end + 1]) if 0 <= start < end else None
    except ValueError:
        value = None
    while isinstance(value, dict):
        value = value.get("error", value.get("message"))
    inner = value.strip() if isinstance(value, str) else ""
    return inner if inner and inner in message else message.strip()


# -- codex ------------------------------------------------------------------------------------

_CODEX_KINDS = {
    "command_execution": "command",
    "file_change": "file_change",
    "mcp_tool_call": "tool",
    "web_search": "web_search",
    "collab_tool_call": "subagent",
    "todo_list": "note",
}
_CODEX_USAGE = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cached_input_tokens": "cached_tokens",
    "reasoning_output_tokens": "reasoning_tokens",
}


def _codex_line(story: _Story, line: dict[str, Any]) -> None:
    kind = line.get("type")
    if kind == "turn.completed":
        story.outcome, story.answer = True, story.text
        story.usage = _numbers(line.get("usage"), _CODEX_USAGE)
    elif kind == "turn.failed":
        story.outcome = False
        story.error = _get(line, "error", "message") or story.error
    elif kind == "error":
        message = str(line.get("message") or "")
        if not message.startswith("Reconnecting..."):  # a retry: the run goes on
            story.error = message
    elif kind in ("item.started", "item.updated", "item.completed"):
        _codex_item(story, line.get("item") or {}, done=kind == "item.completed")


def _codex_item(story: _Story, item: dict[str, Any], *, done: bool) -> None:
    kind = item.get("type")
    if kind == "agent_message":
        story.text = item.get("text") or ""
    if kind not in _CODEX_KINDS:
        return
    name = kind
    if kind == "command_execution":
        name = unwrap_shell(item.get("command") or "")
    elif kind in ("mcp_tool_call", "collab_tool_call"):
        name = item.get("tool") or kind
    exit_code = item.get("exit_code")
    # Searches and todo lists have no status; all else says completed or failed.
    good = (
        item.get("status", "completed") == "completed" and not exit_code and not item.get("error")
    )
    story.tool(Tool(item.get("id"), name, _CODEX_KINDS[kind], good if done else None, exit_code))


def unwrap_shell(command: str) -> str:
    """``/bin/bash -lc 'ls -1'`` is the command ``ls -1``."""
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    if (
        len(words) == 3
        and words[1] in ("-lc", "-c")
        and PurePosixPath(words[0]).name in ("bash", "sh", "zsh")
    ):
        return words[2]
    return command


# -- claude -----------------------------------------------------------------------------------

_CLAUDE_KINDS = {
    "command": ("Bash", "PowerShell"),
    "file_change": ("Write", "Edit", "MultiEdit", "NotebookEdit"),
    "web_search": ("WebSearch", "WebFetch"),
    "subagent": ("Agent", "Task"),
    "note": ("TodoWrite", "TodoRead", "TaskCreate", "TaskUpdate", "TaskList", "TaskGet"),
}
_CLAUDE_USAGE = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_input_tokens": "cached_tokens",
}
_CLAUDE_TOTALS = {"total_cost_usd": "cost_usd", "duration_ms": "duration_ms", "num_turns": "turns"}


def _claude_line(story: _Story, line: dict[str, Any]) -> None:
    kind = line.get("type")
    if kind == "result":
        _claude_result(story, line)
        return
    blocks = _get(line, "message", "content")
    blocks = (
        [block for block in blocks if isinstance(block, dict)] if isinstance(blocks, list) else []
    )
    if kind == "assistant":
        own = not line.get("parent_tool_use_id") and _get(line, "message", "model") != "<synthetic>"
        for block in blocks:
            if block.get("type") == "tool_use":
                _call(story, block.get("id"), block.get("name"), block.get("input"), _CLAUDE_KINDS)
            elif block.get("type") == "text" and block.get("text") and own:
                story.text = block["text"]
    elif kind == "user" and not line.get("isSynthetic") and not line.get("isReplay"):
        for block in blocks:
            if block.get("type") == "tool_result":
                _finish(story, block.get("tool_use_id"), ok=not block.get("is_error"))


def _claude_failed(result: dict[str, Any]) -> bool:
    """`is_error` contradicts the subtype in both directions, by version."""
    return bool(result.get("is_error")) or str(result.get("subtype")).startswith("error")


def _claude_result(story: _Story, line: dict[str, Any]) -> None:
    """The last one counts, also when it was printed after the text of a newer one."""
    said = line.get("result")
    story.outcome = not _claude_failed(line)
    story.usage = _numbers(line.get("usage"), _CLAUDE_USAGE) | _numbers(line, _CLAUDE_TOTALS)
    story.usage |= _numbers(
        _get(line, "usage", "output_tokens_details"), {"thinking_tokens": "reasoning_tokens"}
    )
    if story.outcome:
        # A good result without words of its own is not described: if text came before, it is open.
        story.answer, story.error = said or (None if story.text else ""), None
        return
    subtype = str(line.get("subtype") or "")
    reasons = [*(line.get("errors") or ()), subtype if subtype.startswith("error") else ""]
    story.error = said or str(reasons[0])


# -- gemini -----------------------------------------------------------------------------------

_GEMINI_KINDS = {
    "command": ("run_shell_command",),
    "file_change": ("write_file", "replace"),
    "web_search": ("google_web_search", "web_fetch"),
    "note": ("write_todos",),
}
_GEMINI_USAGE = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cached": "cached_tokens",
    "duration_ms": "duration_ms",
}


def _gemini_line(story: _Story, line: dict[str, Any]) -> None:
    kind = line.get("type")
    if kind == "message" and line.get("role") == "assistant":
        story.text += line.get("content") or ""
    elif kind == "tool_use":
        story.text = ""
        _call(
            story, line.get("tool_id"), line.get("tool_name"), line.get("parameters"), _GEMINI_KINDS
        )
    elif kind == "tool_result":
        story.text = ""
        _finish(story, line.get("tool_id"), ok=line.get("status") == "success")
    elif kind == "error":
        story.warning = line.get("message") or story.warning
    elif kind == "result":
        story.outcome = line.get("status") == "success"
        story.answer = story.text
        # An empty answer fails the run, and only the warning before it says so.
        story.error = _get(line, "error", "message") or story.warning
        story.usage = _numbers(line.get("stats"), _GEMINI_USAGE)


# -- opencode and its fork kilo ----------------------------------------------------------------

_OPENCODE_KINDS = {
    "command": ("bash",),
    "file_change": ("write", "edit", "multiedit", "patch", "apply_patch"),
    "web_search": ("webfetch", "websearch"),
    "subagent": ("task",),
    "note": ("todowrite", "todoread", "question"),
}


def _opencode_line(story: _Story, line: dict[str, Any]) -> None:
    kind, part = line.get("type"), line.get("part") or {}
    if kind == "text" and part.get("text") and not part.get("synthetic"):
        # The text parts of the last message that has any, and not of the messages before it.
        more = story.message == part.get("messageID") and story.text
        story.text = f"{story.text}\n{part['text']}" if more else part["text"]
        story.message = part.get("messageID")
    elif kind == "tool_use":
        state, name, call = part.get("state") or {}, part.get("tool"), part.get("callID")
        _call(story, call, name, state.get("input"), _OPENCODE_KINDS)
        exit_code = _get(state, "metadata", "exit")
        # `invalid` stands for a call that could not be run: "completed" is only the answer to it.
        good = state.get("status") == "completed" and not exit_code and name != "invalid"
        story.tools[call] = replace(story.tools[call], ok=good, exit_code=exit_code)
    elif kind == "step_finish":
        tokens = part.get("tokens")
        _add(story, tokens, {"input": "input_tokens", "output": "output_tokens"})
        _add(story, tokens, {"reasoning": "reasoning_tokens"})
        _add(story, _get(tokens, "cache"), {"read": "cached_tokens"})
        _add(story, part, {"cost": "cost_usd"})
    elif kind == "error":
        error = line.get("error")
        story.error = _get(error, "data", "message") or _get(error, "name") or str(error)


# -- pi ---------------------------------------------------------------------------------------

_PI_KINDS = {"command": ("bash",), "file_change": ("write", "edit")}
_PI_USAGE = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cacheRead": "cached_tokens",
    "reasoning": "reasoning_tokens",
}


def _pi_line(story: _Story, line: dict[str, Any]) -> None:
    kind = line.get("type")
    if kind in ("message_start", "message_end") and _get(line, "message", "role") == "assistant":
        story.unfinished = ""
        if kind == "message_end":
            _pi_message(story, line["message"])
    elif kind == "message_update":
        event = line.get("assistantMessageEvent") or {}
        if event.get("type") == "text_delta":
            story.unfinished += event.get("delta") or ""
    elif kind == "tool_execution_start":
        _call(story, line.get("toolCallId"), line.get("toolName"), line.get("args"), _PI_KINDS)
    elif kind == "tool_execution_end":
        _finish(story, line.get("toolCallId"), ok=not line.get("isError"))
    elif kind == "agent_settled":  # once per prompt; with several the last counts
        _end_of_output(story, good=True)


def _pi_message(story: _Story, message: dict[str, Any]) -> None:
    """The last one is the answer, whether it has text or not, and says how the run went."""
    blocks = [block for block in message.get("content") or () if block.get("type") == "text"]
    story.text = "\n".join(block["text"] for block in blocks)
    failed = message.get("stopReason") in ("error", "aborted")
    story.error = message.get("errorMessage") or message["stopReason"] if failed else None
    _add(story, message.get("usage"), _PI_USAGE)
    _add(story, _get(message, "usage", "cost"), {"total": "cost_usd"})


# -- copilot ----------------------------------------------------------------------------------

_COPILOT_KINDS = {"command": ("bash",), "file_change": ("create", "edit"), "subagent": ("task",)}


def _copilot_line(story: _Story, line: dict[str, Any]) -> None:
    kind, data = line.get("type"), line.get("data") or {}
    if kind == "assistant.message" and not data.get("parentToolCallId"):
        story.text = data.get("content") or story.text
        if not data.get("toolRequests"):
            story.answer = data.get("content")
    elif kind == "tool.execution_start":
        _call(
            story, data.get("toolCallId"), data["toolName"], data.get("arguments"), _COPILOT_KINDS
        )
    elif kind == "tool.execution_complete":
        # A command that ran is a success, whatever it said itself.
        exit_code = _get(data, "shellExecution", "exitCode")
        _finish(story, data.get("toolCallId"), ok=data.get("success") is True and not exit_code)
        if data.get("toolCallId") in story.tools:
            done = story.tools[data["toolCallId"]]
            story.tools[data["toolCallId"]] = replace(done, exit_code=exit_code)
    elif kind == "session.error":
        story.error = data.get("message")
    elif kind == "abort":
        story.error = "interrupted"
    elif kind == "result":
        story.outcome = line.get("exitCode") == 0 and story.error != "interrupted"
        story.usage = _numbers(line.get("usage"), {"sessionDurationMs": "duration_ms"})


# -- kimi -------------------------------------------------------------------------------------

_KIMI_KINDS = {"command": ("Bash",), "file_change": ("Write", "Edit")}


def _kimi_line(story: _Story, line: dict[str, Any]) -> None:
    role = line.get("role")
    if role == "assistant":
        story.text = line.get("content") or story.text
        for call in line.get("tool_calls") or ():
            function = call["function"]
            objects = json_objects((function.get("arguments") or "").encode())
            given = objects[0] if objects else None
            _call(story, call.get("id"), function.get("name"), given, _KIMI_KINDS)
        if not line.get("tool_calls"):
            story.answer = line.get("content")
    elif role == "tool" and line.get("tool_call_id") in story.tools:
        # Nothing but the last words of the output tells a failure.
        last = (str(line.get("content")).strip().splitlines() or [""])[-1]
        failed = re.fullmatch(r"Command failed with exit code: (\d+)\.?", last)
        call = story.tools[line["tool_call_id"]]
        good = not failed and last != "Session closed"
        code = int(failed[1]) if failed else None
        story.tools[line["tool_call_id"]] = replace(call, ok=good, exit_code=code)
    elif line.get("type") == "session.resume_hint":
        story.outcome = True


# -- vibe -------------------------------------------------------------------------------------

_VIBE_KINDS = {"shell": "command", "file_write": "file_change", "file_edit": "file_change"}


def _vibe_line(story: _Story, line: dict[str, Any]) -> None:
    """Journal entries: each is printed once, when it is settled."""
    kind = line.get("type")
    if kind == "message" and line.get("role") == "assistant":
        blocks = line.get("content") or ()
        story.text = "\n".join(block["text"] for block in blocks if block.get("text"))
    elif kind == "effect":
        detail, state = line.get("detail") or {}, line.get("state") or {}
        shown = _get(detail, "input", "command") if detail.get("kind") == "shell" else None
        good = state.get("status") == "completed" and _get(state, "display", "success") is not False
        name = shown or detail.get("toolName") or ""
        kind = _VIBE_KINDS.get(detail.get("kind"), "tool")
        story.tool(Tool(line.get("id"), name, kind, good, None))


# -- qwen, a fork of gemini that prints what claude prints -------------------------------------

_QWEN_KINDS = {
    "command": ("run_shell_command",),
    "file_change": ("write_file", "edit", "notebook_edit"),
    "web_search": ("web_fetch",),
    "subagent": ("agent",),
}


def _qwen_line(story: _Story, line: dict[str, Any]) -> None:
    kind = line.get("type")
    if kind == "assistant":
        for block in _get(line, "message", "content") or ():
            if block.get("type") == "tool_use":
                _call(story, block.get("id"), block.get("name"), block.get("input"), _QWEN_KINDS)
            elif block.get("text") and not line.get("parent_tool_use_id"):
                # A refused request is printed as if the model had said so.
                refused = block["text"].startswith("[API Error: ")
                story.text = story.text if refused else block["text"]
                story.error = block["text"] if refused else story.error
        return
    before = story.error
    _claude_line(story, line)
    if kind == "result" and not story.outcome:
        story.error = _get(line, "error", "message") or before or story.error


# -- shared -----------------------------------------------------------------------------------


def _call(
    story: _Story,
    call: str | None,
    name: str | None,
    given: Any,
    kinds: Mapping[str, tuple[str, ...]],
) -> None:
    kind = next((kind for kind, names in kinds.items() if name in names), "tool")
    command = None
    if kind == "command" and isinstance(given, dict):
        command = given.get("command") or given.get("cmd")
    shown = command if isinstance(command, str) and command else name or ""
    story.tool(Tool(call, shown, kind, None, None))


def _end_of_output(story: _Story, *, good: bool) -> None:
    """The run is over: it went well unless something in the stream, or the exit code, denies it."""
    story.text = story.unfinished or story.text
    if good:
        story.outcome, story.answer = not story.error, story.text


def _add(story: _Story, source: Any, names: Mapping[str, str]) -> None:
    """Numbers that are told per step are added up for the run."""
    for key, number in _numbers(source, names).items():
        story.usage[key] = story.usage.get(key, 0) + number


def _finish(story: _Story, call: str | None, *, ok: bool) -> None:
    if call in story.tools:
        story.tools[call] = replace(story.tools[call], ok=ok)


def _get(value: Any, *path: str) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _numbers(source: Any, names: Mapping[str, str]) -> dict[str, float]:
    if not isinstance(source, dict):
        return {}
    return {
        to: source[key] for key, to in names.items() if isinstance(source.get(key), int | float)
    }


_READERS: dict[str, Callable[[_Story, dict[str, Any]], None]] = {
    "codex": _codex_line,
    "claude": _claude_line,
    "gemini": _gemini_line,
    "copilot": _copilot_line,
    "kimi": _kimi_line,
    "vibe": _vibe_line,
    "qwen": _qwen_line,
    "opencode": _opencode_line,
    "kilo": _opencode_line,
    "pi": _pi_line,
}
_NO_CLOSING_LINE = ("opencode", "kilo", "pi", "vibe")
