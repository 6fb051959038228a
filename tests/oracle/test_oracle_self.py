"""The oracle itself, against what a person reads in the recordings and in the descriptions."""

import json
from pathlib import Path

import pytest

from .streams import ENGINES, Expected, Tool, asked_session, expect, recordings, unwrap_shell

CHECKOUT = Path(__file__).parents[2]
ROOTS = (CHECKOUT.parent / "shared" / "recordings", CHECKOUT / "fixtures" / "streams")


def _case_id(name: str) -> str:
    """A recording's name as a fixture's folder has it."""
    return name.replace("-", "_").replace(".", "_")


def recorded(engine: str, name: str) -> Expected:
    """The oracle's word on one recording, from the first root that has it."""
    for root in ROOTS:
        for found, lines, meta in recordings(engine, root):
            if _case_id(found) == _case_id(name):
                return expect(engine, lines, meta)
    pytest.skip(f"no recording {engine}/{name} beside the checkout or among the fixtures")


READ_BY_HAND = {
    ("codex", "bash_fail"): Expected(
        ok=True,
        answer="The command failed with exit code 3.",
        error_contains=None,
        session="01a1fa2c-72d0-7170-82aa-bbdc40ca1fcc",
        tools=(Tool("item_0", "echo oops >&2; exit 3", "command", False, 3),),
        usage={
            "input_tokens": 200,
            "cached_tokens": 0,
            "output_tokens": 40,
            "reasoning_tokens": 0,
        },
    ),
    ("codex", "web_search"): Expected(
        ok=True,
        answer="I found Example A.",
        error_contains=None,
        session="01a1fa1b-28db-7013-aae3-1afd99101317",
        tools=(
            Tool("ws_1", "web_search", "web_search", True, None),
            Tool("ws_2", "web_search", "web_search", True, None),
        ),
        usage={
            "input_tokens": 100,
            "cached_tokens": 0,
            "output_tokens": 20,
            "reasoning_tokens": 0,
        },
    ),
    ("codex", "resume_not_uuid"): Expected(
        ok=False,
        answer="",
        error_contains="01a1fa19-b991-7ef3-8970-962eaeba8946",
        session=None,
        tools=(),
        usage={},
        asked="not-a-session",
    ),
    ("codex", "stream_failed_context"): Expected(
        ok=False,
        answer="partial",
        error_contains=(
            "Codex ran out of room in the model's context window. "
            "Start a new thread or clear earlier history before retrying."
        ),
        session="01a1fa19-fa00-7152-80c4-92b1d8c48585",
        tools=(),
        usage={},
    ),
    ("codex", "bad_flag"): Expected(
        ok=False,
        answer="",
        error_contains="For more information, try '--help'.",
        session=None,
        tools=(),
        usage={},
    ),
    ("claude", "subagent"): Expected(
        ok=True,
        answer="The sub-agent found 2 files.",
        error_contains=None,
        session="769853f6-9123-4e34-8d8c-12afccacc494",
        tools=(
            Tool("toolu_8fa1500002", "Agent", "subagent", True, None),
            Tool("toolu_8fa1500004", "ls src/*.py | wc -l", "command", True, None),
        ),
        usage={
            "input_tokens": 200,
            "cached_tokens": 0,
            "output_tokens": 40,
            "reasoning_tokens": 0,
            "cost_usd": 0.0024000000000000002,
            "duration_ms": 773,
            "turns": 2,
        },
    ),
    ("claude", "error_401"): Expected(
        ok=False,
        answer="",
        error_contains="Invalid API key · Fix external API key",
        session="d6b45c41-1356-4fa1-9858-5fb3a2bfd8ff",
        tools=(),
        usage={
            "input_tokens": 0,
            "cached_tokens": 0,
            "output_tokens": 0,
            "reasoning_tokens": 0,
            "cost_usd": 0,
            "duration_ms": 1852,
            "turns": 1,
        },
    ),
    ("claude", "v2.0_sigterm"): Expected(
        ok=False,
        answer="Waiting now.",
        error_contains=None,
        session="b7253bb6-5242-4ffe-bd10-d6ba996bf0dd",
        tools=(Tool("toolu_10ad530002", "tail -f /dev/null", "command", None, None),),
        usage={},
    ),
    ("claude", "v2.0_mcp"): Expected(
        ok=True,
        answer="Echo said hi there; the other failed.",
        error_contains=None,
        session="d200158f-1264-450d-af6d-758f262e93a5",
        tools=(
            Tool("toolu_79a8ce0004", "mcp__mini__echo", "tool", True, None),
            Tool("toolu_79a8ce0006", "mcp__mini__fail", "tool", False, None),
        ),
        usage={
            "input_tokens": 300,
            "cached_tokens": 0,
            "output_tokens": 60,
            "cost_usd": 0.0026,
            "duration_ms": 284,
            "turns": 3,
        },
    ),
    ("gemini", "shell"): Expected(
        ok=True,
        answer="There are 2 files: `README.md` and `hello.py`.",
        error_contains=None,
        session="2aa62ed1-947c-44c6-834f-1b3ea024c7ab",
        tools=(Tool("run_shell_command__call_1", "ls -1", "command", True, None),),
        usage={
            "input_tokens": 200,
            "cached_tokens": 20,
            "output_tokens": 40,
            "duration_ms": 597,
        },
    ),
    ("gemini", "failing-command"): Expected(
        ok=True,
        answer="The command failed: missing.txt does not exist.",
        error_contains=None,
        session="d3a45ffa-145e-46ab-8db2-8f98c557249e",
        tools=(
            Tool(
                "run_shell_command__call_4",
                "cat missing.txt; echo partial; exit 3",
                "command",
                True,
                None,
            ),
        ),
        usage={
            "input_tokens": 200,
            "cached_tokens": 20,
            "output_tokens": 40,
            "duration_ms": 797,
        },
    ),
    ("gemini", "api-error"): Expected(
        ok=False,
        answer="",
        error_contains="Mock: the model refused this request.",
        session="add47f74-6d70-4c4c-a9ca-164c86cd1b76",
        tools=(),
        usage={"input_tokens": 0, "cached_tokens": 0, "output_tokens": 0, "duration_ms": 0},
    ),
    ("gemini", "resume-unknown"): Expected(
        ok=False,
        answer="",
        error_contains="Use --list-sessions to see available sessions",
        session=None,
        tools=(),
        usage={},
        asked="00000000-0000-4000-8000-000000000000",
    ),
    ("opencode", "v1.1_bash_fail"): Expected(
        ok=True,
        answer="The command failed with exit code 3.",
        error_contains=None,
        session="ses_e05d6bef4ffeq4gEa2vxmwwnXH",
        tools=(Tool("call_f5f84c0004", "echo oops >&2; exit 3", "command", False, 3),),
        usage={
            "input_tokens": 200,
            "cached_tokens": 0,
            "output_tokens": 40,
            "reasoning_tokens": 0,
            "cost_usd": 0.00028,
        },
    ),
    ("opencode", "v1.1_bad_model"): Expected(
        ok=False,
        answer="",
        error_contains="Model not found: mock/nope.",
        session="ses_e05d60a95ffeTHuPsCO25tk73Y",
        tools=(),
        usage={},
    ),
    ("kilo", "resume-unknown"): Expected(
        ok=False,
        answer="",
        error_contains="Session not found",
        session=None,
        tools=(),
        usage={},
        asked="00000000-0000-4000-8000-000000000000",
    ),
    ("pi", "v0.73_session_new_path"): Expected(
        ok=True,
        answer="New file.",
        error_contains=None,
        session="/home/user/project/my session.jsonl",
        tools=(),
        usage={
            "input_tokens": 100,
            "cached_tokens": 0,
            "output_tokens": 20,
            "cost_usd": 0.00014,
        },
        asked="/home/user/project/my session.jsonl",
    ),
    ("pi", "content_filter"): Expected(
        ok=False,
        answer="I cannot",
        error_contains="Provider finish_reason: content_filter",
        session="01a1fa1d-2750-7368-a40b-66610af5e817",
        tools=(),
        usage={
            "input_tokens": 100,
            "cached_tokens": 0,
            "output_tokens": 20,
            "reasoning_tokens": 0,
            "cost_usd": 0.00014,
        },
    ),
}


@pytest.mark.parametrize(("engine", "name"), READ_BY_HAND, ids=lambda word: word)
def test_a_recording_is_read_as_a_person_reads_it(engine, name):
    by_hand = READ_BY_HAND[engine, name]
    told = recorded(engine, name)
    if by_hand.error_contains:
        # By hand only the telling part of a long line is written down.
        assert by_hand.error_contains in (told.error_contains or "")
        told = Expected(**{**vars(told), "error_contains": by_hand.error_contains})
    assert told == by_hand


def test_an_unknown_claude_session_leaves_no_session_behind():
    told = recorded("claude", "resume_not_uuid")
    assert (told.ok, told.session, told.asked) == (False, None, "not-a-session")
    assert "does not match any session title" in (told.error_contains or "")


@pytest.mark.parametrize("engine", ENGINES)
def test_every_recording_gets_a_sound_expectation(engine):
    seen = 0
    for root in ROOTS:
        for name, lines, meta in recordings(engine, root):
            told = expect(engine, lines, meta)
            seen += 1
            assert not told.ok or (told.session and told.answer is not None), name
            assert not told.ok or told.error_contains is None, name
            assert len({tool.id for tool in told.tools}) == len(told.tools), name
            if root == ROOTS[0]:
                # There the exit code agrees, but for a resumed name that nobody knows, and for the
                # CLIs that exit with 0 after a failure as well.
                exits_0 = name == "resume_not_uuid" or engine in {"opencode", "pi"}
                agrees = told.ok == (meta["exit_code"] == 0)
                assert agrees or (exits_0 and not told.ok), name
                silent = meta["signal"] or name == "without_json"
                assert told.ok or told.error_contains or silent, name
    if not seen:
        pytest.skip(f"no recordings of {engine}")


# -- what is described but has no recording here ----------------------------------------------


def stream(*lines: dict | str) -> bytes:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    return "".join(f"{text}\n" for text in texts).encode()


def codex(
    *lines: dict | str, exit_code: int = 0, stderr: str = "", argv: tuple[str, ...] = ()
) -> Expected:
    meta = {"exit_code": exit_code, "stderr": stderr, "argv": list(argv)}
    return expect("codex", stream({"type": "thread.started", "thread_id": "t"}, *lines), meta)


def item(phase: str, **fields: object) -> dict:
    return {"type": f"item.{phase}", "item": fields}


def message(text: str) -> dict:
    return item("completed", id="m", type="agent_message", text=text)


def test_codex_stopped_without_a_closing_line_failed_whatever_the_exit_code():
    told = codex(message("Waiting."), exit_code=0)
    assert (told.ok, told.answer) == (False, "Waiting.")
    assert told.error_contains == "finished without a result event"


def test_codex_retries_are_not_the_reason_of_a_failure():
    retry = {"type": "error", "message": "Reconnecting... 1/2 (waiting)"}
    assert codex(retry, {"type": "turn.completed", "usage": {}}).ok
    assert codex(retry, exit_code=-15).error_contains is None


def test_codex_answer_may_be_empty():
    told = codex({"type": "turn.completed", "usage": {"input_tokens": 5}})
    assert (told.ok, told.answer, told.usage) == (True, "", {"input_tokens": 5})


def test_codex_items_without_a_shell():
    told = codex(
        item(
            "started",
            id="a",
            type="mcp_tool_call",
            server="mini",
            tool="fail",
            status="in_progress",
        ),
        item("started", id="b", type="todo_list", items=[]),
        item("completed", id="w", type="error", message="a warning"),
        item("completed", id="r", type="reasoning", text="hm"),
        item("completed", id="c", type="file_change", changes=[], status="failed"),
        item(
            "completed", id="a", type="mcp_tool_call", server="mini", tool="fail", status="failed"
        ),
        item("updated", id="b", type="todo_list", items=[]),
        {"type": "turn.completed", "usage": {}},
    )
    assert told.tools == (
        Tool("a", "fail", "tool", False, None),
        Tool("b", "todo_list", "note", None, None),
        Tool("c", "file_change", "file_change", False, None),
    )


def test_codex_exit_code_and_error_speak_without_a_status():
    told = codex(
        item("completed", id="a", type="command_execution", command="false", exit_code=1),
        item("completed", id="b", type="mcp_tool_call", tool="echo", error={"message": "gone"}),
        item("completed", id="c", type="web_search", query="q"),
    )
    assert [tool.ok for tool in told.tools] == [False, False, True]


def test_the_words_inside_a_json_error_are_enough():
    inner = json.dumps({"error": {"message": "bad request", "code": None}})
    assert (
        codex({"type": "turn.failed", "error": {"message": inner}}).error_contains == "bad request"
    )
    plain = "no {json} here"
    assert codex({"type": "turn.failed", "error": {"message": plain}}).error_contains == plain


def test_lines_are_split_at_newlines_only_and_other_text_is_passed_over():
    raw = json.dumps(message("one\u2028two"), ensure_ascii=False)
    told = codex("not json", "[1]", raw, {"type": "turn.completed", "usage": {}})
    assert told.answer == "one\u2028two"


CLAUDE_INIT = {"type": "system", "subtype": "init", "session_id": "s"}


def claude(*lines: dict, **meta: object) -> Expected:
    return expect("claude", stream(CLAUDE_INIT, *lines), meta)


def said(*blocks: dict, parent: str | None = None, model: str = "m") -> dict:
    inner = {"model": model, "content": list(blocks)}
    return {"type": "assistant", "session_id": "s", "parent_tool_use_id": parent, "message": inner}


def result(**fields: object) -> dict:
    return {"type": "result", "subtype": "success", "is_error": False, "session_id": "s", **fields}


def test_claude_subtype_counts_when_is_error_denies_it():
    told = claude(result(subtype="error_max_turns", errors=[], num_turns=1))
    assert (told.ok, told.error_contains, told.usage) == (False, "error_max_turns", {"turns": 1})


def test_claude_last_result_wins():
    told = claude(
        result(result="first", num_turns=1), CLAUDE_INIT, result(result="second", num_turns=2)
    )
    assert (told.answer, told.usage) == ("second", {"turns": 2})
    assert not claude(result(result="fine"), result(is_error=True, result="broke")).ok


def test_claude_text_of_others_is_no_answer():
    told = claude(
        said({"type": "text", "text": "Mine."}),
        said({"type": "text", "text": "A sub-agent's."}, parent="call"),
        said({"type": "text", "text": "API Error"}, model="<synthetic>"),
        result(is_error=True, result="API Error"),
        exit_code=1,
    )
    assert (told.answer, told.error_contains) == ("Mine.", "API Error")


def test_claude_prompts_of_its_own_finish_no_tool():
    call = {"type": "tool_use", "id": "c", "name": "Bash", "input": {}}
    done = {"type": "tool_result", "tool_use_id": "c", "content": "x"}
    replayed = {"type": "user", "isReplay": True, "message": {"content": [done]}}
    plain = {"type": "user", "message": {"content": "a string"}}
    told = claude(said(call), replayed, plain, result(result="ok"))
    assert told.tools == (Tool("c", "Bash", "command", None, None),)


def test_claude_good_result_without_words_is_open():
    assert claude(said({"type": "text", "text": "Earlier."}), result(result="")).answer is None
    assert claude(result(result="")).answer == ""


def gemini(*lines: dict, **meta: object) -> Expected:
    return expect("gemini", stream({"type": "init", "session_id": "g"}, *lines), meta)


def delta(text: str) -> dict:
    return {"type": "message", "role": "assistant", "content": text, "delta": True}


def test_gemini_interrupted_exits_0_and_failed():
    use = {"type": "tool_use", "tool_id": "u", "tool_name": "read_file", "parameters": {}}
    told = gemini(delta("I will read."), use, exit_code=0, stderr="YOLO mode is enabled.")
    assert (told.ok, told.answer) == (False, "")
    assert told.error_contains == "finished without a result event"
    assert told.tools == (Tool("u", "read_file", "tool", None, None),)


def test_gemini_refused_call_failed():
    use = {"type": "tool_use", "tool_id": "u", "tool_name": "replace", "parameters": {}}
    refused = {"type": "tool_result", "tool_id": "u", "status": "error"}
    told = gemini(use, refused, delta("Sorry."), {"type": "result", "status": "success"})
    assert told.answer == "Sorry."
    assert told.tools == (Tool("u", "replace", "file_change", False, None),)


def test_gemini_empty_answer_says_why_in_an_earlier_line():
    warning = {"type": "error", "severity": "error", "message": "The model said nothing."}
    told = gemini(warning, {"type": "result", "status": "error"}, exit_code=0)
    assert (told.ok, told.error_contains) == (False, "The model said nothing.")
    assert gemini(warning, delta("Hi"), {"type": "result", "status": "success"}).ok


# -- parts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("engine", "command", "asked"),
    [
        ("codex", "codex exec --json resume 0-1 -", "0-1"),
        ("codex", "codex exec --json resume --last -", None),
        ("codex", "codex exec --json fork 0-1 -", None),
        ("claude", "claude -p --resume 0-1 -- hello", "0-1"),
        ("claude", "claude -p --resume 0-1 --fork-session -- hello", None),
        ("claude", "claude -p --continue -- --resume 0-1", None),
        ("claude", "claude -p --session-id 0-1 -- hello", None),
        ("gemini", "gemini --resume=0-1 --prompt hello", "0-1"),
        ("gemini", "gemini --resume latest --prompt hello", None),
        ("gemini", "gemini --resume 3 --prompt hello", None),
        ("opencode", "opencode run --session ses_1 -- hello", "ses_1"),
        ("opencode", "opencode run --session ses_1 --fork -- hello", None),
        ("opencode", "opencode run --continue -- --session ses_1", None),
        ("kilo", "kilo run -s ses_1 hello", "ses_1"),
        ("pi", "pi --print --session 0-1 hello", "0-1"),
        ("pi", "pi --print --fork 0-1 hello", None),
    ],
)
def test_the_session_asked_for(engine, command, asked):
    assert asked_session(engine, {"argv": command.split()}) == asked
    assert asked_session(engine, {"argv": command.split(), "resume": "told"}) == "told"


@pytest.mark.parametrize(
    ("command", "bare"),
    [
        ("/bin/bash -lc 'ls -1 src'", "ls -1 src"),
        ("/bin/bash -lc true", "true"),
        ("bash script.sh", "bash script.sh"),
        ("echo 'open", "echo 'open"),
    ],
)
def test_shell_wrappers_come_off(command, bare):
    assert unwrap_shell(command) == bare


def test_recordings_lie_flat_or_in_folders(tmp_path):
    folder = tmp_path / "codex" / "a-case"
    folder.mkdir(parents=True)
    (folder / "stream.jsonl").write_bytes(b"{}\n")
    (folder / "meta.json").write_text('{"exit_code": 1}', "utf-8")
    (tmp_path / "codex" / "v0.77_flat.jsonl").write_bytes(b"")
    (tmp_path / "codex" / "v0.77_flat.meta.json").write_text('{"exit_code": 2}', "utf-8")
    assert list(recordings("codex", tmp_path)) == [
        ("a-case", b"{}\n", {"exit_code": 1}),
        ("v0.77_flat", b"", {"exit_code": 2}),
    ]
    assert list(recordings("claude", tmp_path)) == []
