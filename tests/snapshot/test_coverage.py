"""Coverage both ways: every rule of a built-in adapter fires, and every line of a fixture is mapped.

JMESPath answers null to a typo, and a rule that says "known, not shown" can hide what a person should
see. So it is also checked that nothing with words, tools or failures in it is passed over in silence,
but for what the table `NOT_SHOWN` gives a reason for.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from takopi.adapters.replay import new_translator
from takopi.adapters.rules import Match, Rule, RuleSet
from tests.snapshot.cases import CASES, ENGINES, Case, adapter_of, each_case, each_engine, play

WORDS = {
    *("text", "content", "result", "error", "errors", "message", "output", "summary", "thinking"),
    *("prompt", "reason", "reasoning", "delta", "partial_json", "description", "stderr", "stdout"),
    *("aggregated_output", "explanation", "answer", "warning", "notice"),
}
TOOLS = {
    "tool",
    "tool_name",
    "tool_use_id",
    "tool_id",
    "command",
    "input",
    "parameters",
    "arguments",
}
BAD_STATUS = {"failed", "failure", "error", "errored", "killed", "denied", "rejected", "aborted"}
STATUS = {"status", "outcome", "state"}
FLAGS = {"is_error", "isError", "failed"}

# (engine, rule, key) of what is passed over on purpose: a rule by what its matches ask for.
COUNTERS = "type=system subtype=init|status|thinking_tokens|task_updated|task_started|task_progress"
HOOKS = "type=system subtype=hook_started|hook_response"
CALLS = "type=model.call_start|model.call_finished|model.call_final_result"
FILE_CREATED = "type=session.info data.infoType=file_created"
OUTPUT = "type=tool.shell_output|tool.execution_partial_result"
RUNNING = "type=tool_progress"
NOT_SHOWN = {
    ("claude", "type=assistant › type=text|thinking", "text"): (
        "a sub-agent's text, or what the CLI says itself and the result line repeats"
    ),
    ("claude", "type=stream_event", "text"): "a piece of a message that comes whole as well",
    ("claude", COUNTERS, "status"): "a failed task: its task_notification says so as well",
    ("claude", HOOKS, "output"): "what the user's own hook printed",
    ("claude", HOOKS, "stdout"): "what the user's own hook printed",
    ("claude", RUNNING, "tool_name"): "a command still runs: its tool_use has its name",
    ("claude", RUNNING, "tool_use_id"): "a command still runs: its tool_use has its name",
    ("claude", "type=user", "content"): "a prompt: of a command, of a task's end, a summary",
    ("claude", "type=user › type=text", "text"): "a prompt: of a sub-agent, of the CLI itself",
    ("gemini", "type=message role=user", "content"): "the user's own prompt",
    ("copilot", "type=user.message", "content"): "the user's own prompt",
    ("copilot", "data.message=None", "description"): "the skills that were loaded",
    ("copilot", CALLS, "outcome"): "a failed call: model.call_failure says so in words",
    ("copilot", CALLS, "result"): "success or the HTTP status: model.call_failure says it in words",
    ("copilot", FILE_CREATED, "message"): "a path that the tool call tells as well",
    ("copilot", OUTPUT, "text"): "the output of a running command",
    **{
        ("copilot", "type=assistant.message", key): (
            "a sub-agent's text, and its calls, which tool.execution_start tells of"
        )
        for key in ("content", "arguments", "command", "description")
    },
    ("vibe", "type=message role=user", "text"): "the user's own prompt",
    ("opencode", "type=text|reasoning", "text"): "a prompt of the CLI's own, in a compaction",
}


# This CLI prints everything several times: in pieces, whole, at the end of a turn and of the agent.
PI_REPEATS = {
    "type=message_update": "a piece of a message that comes whole as well",
    "type=message_end message.role=assistant › type=text|thinking|toolCall": (
        "the answer, or a call that tool_execution_start tells of"
    ),
    "type=message_start|message_end message.role=system|user|toolResult": (
        "a prompt, or the result that tool_execution_end tells of"
    ),
    "type=tool_execution_update": "the output so far",
    "type=agent_start|turn_start|turn_end|agent_end|entry_appended|auto_retry_end": (
        "the messages of the turn or of the agent once more"
    ),
}
PI_KEYS = {
    *("text", "thinking", "content", "delta", "command", "input", "arguments", "parameters"),
    *("description", "isError"),
}


def describe(match: Match) -> str:
    """A match as text: ``type=system subtype=init|status``."""
    return " ".join(
        f"{'.'.join(path)}={'|'.join(map(str, values))}" for path, values in match.items()
    )


def named_rules(rules: RuleSet, above: str = "") -> Iterator[tuple[str, Rule]]:
    """Every rule, nested ones too, with what tells it from the others."""
    for rule in rules.rules:
        name = f"{above} › {describe(rule.match)}".removeprefix(" › ")
        yield name, rule
        if rule.rules is not None:
            yield from named_rules(rule.rules, name)


def worth_showing(node: Any) -> set[str]:
    """The keys anywhere in ``node`` that hold words, name a tool, or tell of a failure."""
    found = set()
    if isinstance(node, list):
        return {key for item in node for key in worth_showing(item)}
    if not isinstance(node, dict):
        return found
    for key, value in node.items():
        found |= worth_showing(value)
        if (key in WORDS and _has_words(value)) or (key in TOOLS and value not in (None, "", {})):
            found.add(key)
        if (key in STATUS and value in BAD_STATUS) or (key in FLAGS and value is True):
            found.add(key)
    return found


def _has_words(value: Any) -> bool:
    texts = value if isinstance(value, list) else [value]
    return any(isinstance(text, str) and re.search(r"\w", text) for text in texts)


@each_engine
def test_every_rule_fires_on_some_fixture(engine: str):
    rules = tuple(named_rules(adapter_of(engine).rules))
    own = {rule.place: name for name, rule in rules if not rule.inherited}
    fired = set()
    for case in CASES:
        if case.engine == engine:
            play(engine, case.recording, lambda rule, _: fired.add(rule.place))
    assert rules
    assert not {str(place): name for place, name in own.items() if place not in fired}


@each_case
def test_every_line_and_item_is_mapped_and_no_expression_fails(case):
    played = play(case.engine, case.recording)
    translator = played.translator
    assert translator.unmapped == {}
    assert translator.failures == {}
    # The line that tells of another session than the one asked for ends the run unmapped.
    refused = "was asked to resume session" in (played.events[-1].error or "")
    assert translator.lines - translator.mapped == refused


def silent_nodes(case: Case) -> Iterator[tuple[str, Any]]:
    """What a stream holds that leads to nothing, each with the name of the rule that took it.

    A rule with ``each`` counts when no item went to a rule below it: there was no list.
    """
    adapter, recording = adapter_of(case.engine), case.recording
    names = {rule.place: name for name, rule in named_rules(adapter.rules)}
    calls: list[tuple[Rule, Any]] = []
    translator = new_translator(adapter, recording, on_rule=lambda *call: calls.append(call))
    for line in recording.stdout.split(b"\n"):
        calls.clear()
        before = translator.lines
        translator.line(line)
        if translator.lines > before and not calls and not translator.ended:
            yield "session", json.loads(line)
        for (rule, node), below in itertools.zip_longest(calls, calls[1:]):
            if not (rule.set or rule.append or rule.action or rule.complete) and (
                rule.rules is None or below is None or below[0] not in rule.rules.rules
            ):
                yield names[rule.place], node


def passed_over() -> dict[tuple[str, str, str], str]:
    """What is worth showing and leads to nothing, in all fixtures; with one place where it happens."""
    found: dict[tuple[str, str, str], str] = {}
    for case in CASES:
        for name, node in silent_nodes(case):
            for key in worth_showing(node):
                found.setdefault((case.engine, name, key), f"{case.id}: {node}")
    return found


def test_nothing_worth_showing_is_passed_over_without_a_reason():
    found = passed_over()
    repeats = {
        (engine, rule, key)
        for engine, rule, key in found
        if engine == "pi" and rule in PI_REPEATS and key in PI_KEYS
    }
    assert {rule for _, rule, _ in repeats} == PI_REPEATS.keys()
    assert {key for _, _, key in repeats} == PI_KEYS
    assert not {key: found[key][:400] for key in found.keys() - NOT_SHOWN.keys() - repeats}
    assert not NOT_SHOWN.keys() - found.keys(), "reasons for what no fixture shows any more"


@pytest.mark.parametrize(
    ("node", "keys"),
    [
        ({"type": "x", "text": "hello"}, {"text"}),
        ({"type": "x", "text": " - "}, set()),
        ({"type": "x", "message": {"content": [{"type": "text", "text": "hi"}]}}, {"text"}),
        ({"errors": ["broke"]}, {"errors"}),
        ({"errors": []}, set()),
        ({"tool_name": "Bash", "input": {}}, {"tool_name"}),
        ({"item": {"status": "failed"}}, {"status"}),
        ({"status": "completed", "is_error": False}, set()),
        ({"is_error": True}, {"is_error"}),
        ({"usage": {"tokens": 5}, "session_id": "abc"}, set()),
    ],
)
def test_the_detector_sees_words_tools_and_failures(node, keys):
    assert worth_showing(node) == keys


def test_every_engine_with_fixtures_is_built_in():
    assert {case.engine for case in CASES} == set(ENGINES)
