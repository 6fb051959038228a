"""From a request to argv, stdin and environment."""

import json
import logging
import os
import sys

import pytest

from takopi import logs
from takopi.adapters.options import EngineOptions, resolve_options
from takopi.adapters.request import MAX_ARGUMENT_BYTES, RunRequest, build_command, run_values
from takopi.engines.jsonl import AdapterRunner
from takopi.errors import ConfigError, RunError
from tests.support.adapters import adapter_from
from tests.support.fake import EVENTS


def build(text="", request=None, *, table=None, environ=None):
    adapter = adapter_from(text)
    options = resolve_options(
        adapter.id, adapter.spec.options, adapter.options_read, table or {}, "takopi.toml"
    )
    return build_command(adapter, request or RunRequest("do it"), options, environ or {})


def args(text, **request):
    table = request.pop("table", None)
    return build(text, RunRequest(**{"prompt": "do it", **request}), table=table).args


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        " ",
        "-rf /",
        "--help",
        "a 'b' \"c\" $(d) `e` \\ ; | &",
        "two\nlines",
        "ünï😀",
        "*",
        "${x}",
    ],
)
def test_a_prompt_is_one_argument_as_it_is(prompt):
    assert args('args: [--, "${run().prompt}"]', prompt=prompt) == ("--", prompt)


def test_arguments():
    text = """
    options:
      flags: {type: list, items: string}
      level: {type: integer, default: 3}
      on: {type: boolean, default: true}
      table: {type: table}
    args:
      - run
      - {if: run().resume, then: [--resume, "${run().resume}", {if: run().model, then: [both]}]}
      - {if: run().model, then: ["--model=${run().model}"]}
      - ${options().flags}
      - ${options().missing}
      - ${options().level}
      - "on=${options().on}"
      - ${options().on}
      - ${options().table}
      - 5
      - $${literal}
      - ""
    """
    text = text.replace("      - ${options().missing}\n", "      - ${run().reasoning}\n")
    common = ("3", "on=true", "true")
    assert args(text) == ("run", *common, "5", "${literal}", "")
    full = args(
        text, resume="s1", model="m", reasoning="high", table={"flags": ["-a", "b c"], "table": {"x": 1}}
    )  # fmt: skip
    assert full == (
        *("run", "--resume", "s1", "both", "--model=m", "-a", "b c", "high", *common),
        *('{"x": 1}', "5", "${literal}", ""),
    )


def test_overrides_beat_options():
    text = """
    options: {model: {type: string}, reasoning: {type: string}}
    args: ["${run().model}", "${run().reasoning}"]
    """
    table = {"model": "configured", "reasoning": "low"}
    assert args(text, table=table) == ("configured", "low")
    assert args(text, table=table, model="m", reasoning="high") == ("m", "high")
    assert args(text) == ()


@pytest.mark.parametrize(
    ("stdin", "payload"),
    [
        ("", None),
        ("stdin: ${run().prompt}", b"pr\xc3\xb6mpt"),
        ('stdin: "say: ${run().prompt}\\n"', b"say: pr\xc3\xb6mpt\n"),
        ("stdin: ${run().resume}", None),
        ('stdin: ""', b""),
        ("stdin: \"${ {prompt: run().prompt} }\"", '{"prompt": "prömpt"}'.encode()),
    ],
)  # fmt: skip
def test_stdin(stdin, payload):
    assert build(stdin, RunRequest("prömpt")).stdin == payload


def test_half_a_character_does_not_cost_the_prompt():
    line = build('args: ["${run().prompt}"]\nstdin: ${run().prompt}', RunRequest("half \ud83d"))
    assert line.args == ("half ?",)
    assert line.stdin == b"half ?"


ENV = """
options: {keep: {type: boolean, default: false}}
env:
  set: {MODE: bridge, EMPTY: "", FROM: "${env('HOME')}!", NONE: "${run().resume}", ALSO_NONE: null, N: 5}
  default: {SOFT: mine, HARD: mine, NOT: "${run().resume}"}
  unset: [GONE, "${!(options().keep) && 'API_KEY' || `null`}"]
"""


def test_environment():
    environ = {"HOME": "/h", "HARD": "theirs", "GONE": "x", "API_KEY": "k", "NONE": "kept"}
    environ |= {"TAKOPI__TELEGRAM__BOT_TOKEN": "t", "takopi__x": "t", "TAKOPI_TRACE": "1"}
    env = build(ENV, environ=environ).env
    assert env == {
        **{"HOME": "/h", "HARD": "theirs", "NONE": "kept", "TAKOPI_TRACE": "1"},
        **{"MODE": "bridge", "EMPTY": "", "FROM": "/h!", "N": "5", "SOFT": "mine"},
    }
    assert build(ENV, environ=environ, table={"keep": True}).env["API_KEY"] == "k"
    assert environ["GONE"] == "x"


def test_the_users_own_variables_come_last():
    env = build(ENV, environ={}, table={"env": {"MODE": "user", "GONE": "back"}}).env
    assert (env["MODE"], env["GONE"]) == ("user", "back")


def test_takopis_own_settings_cannot_be_read_either():
    text = """
    env: {set: {LEAK: "${env('TAKOPI__TOKEN')}"}}
    args: ["${env('TAKOPI__TOKEN')}"]
    """
    line = build(text, environ={"TAKOPI__TOKEN": "t"})
    assert (line.args, line.env) == ((), {})


def test_the_command_may_come_from_the_options_or_an_expression():
    assert build().command == "acme"
    assert build(table={"command": "/opt/acme"}).command == "/opt/acme"
    text = "command: ${env('ACME') || 'acme'}"
    assert build(text, environ={"ACME": "other"}).command == "other"


def test_an_argument_that_no_process_can_take():
    fits = "x" * MAX_ARGUMENT_BYTES
    assert args("", prompt=fits) == (fits,)
    with pytest.raises(RunError, match=r"too long for Acme.* 128 KiB"):
        args("", prompt=fits + "x")
    with pytest.raises(RunError, match="too long"):
        args("", prompt="€" * 43_691)
    assert args("args: []\nstdin: ${run().prompt}", prompt=fits * 10) == ()


def test_a_nul_character():
    with pytest.raises(RunError, match="Acme holds a NUL character"):
        args("", prompt="a\0b")


def test_the_session_of_a_run():
    options = EngineOptions()

    def session(text, resume=None):
        return run_values(adapter_from(text), RunRequest("x", resume), options)["session"]

    create = "session: {create: '${uuid()}'}\nargs: [\"--id=${run().session}\"]"
    assert session("") is None
    assert session("", "asked") == "asked"
    assert session(create, "asked") == "asked"
    assert len({session(create), session(create)}) == 2
    assert len({session("resume: null\nsession: null") for _ in range(2)}) == 2
    line = build(create)
    assert line.args == (f"--id={line.run['session']}",)


def test_an_argument_that_is_not_the_prompts_fault():
    text = "options: {model: {type: string}}\nargs: ['${run().model}', '${run().prompt}']"
    with pytest.raises(RunError, match=r"an argument for Acme holds a NUL .* \[acme\]"):
        args(text, prompt="hi", model="a\0b")
    with pytest.raises(RunError, match=r"an argument for Acme has 195 KiB, .* \[acme\]"):
        args(text, prompt="hi", model="x" * 200_000)


@pytest.mark.parametrize("name", ["TAKOPI__TOKEN", "takopi__transports__telegram__bot_token"])
def test_settings_of_takopi_cannot_be_given_to_an_engine(name):
    with pytest.raises(
        ConfigError, match=rf"Invalid `acme.env.{name}` in .*reach no engine"
    ) as caught:
        build(table={"env": {name: "hunter2", "MINE": "1"}})
    assert "hunter2" not in str(caught.value)


def test_an_adapter_cannot_set_settings_of_takopi_either(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("takopi"), "propagate", True)
    assert build("env: {set: {Takopi__X: hunter2, MINE: '1'}}").env == {"MINE": "1"}
    assert "Takopi__X" in caplog.text
    assert "hunter2" not in caplog.text


def test_s24_variables_of_takopi_that_hold_a_secret_stay_with_it(monkeypatch):
    monkeypatch.setattr(logs, "_secrets", logs._Secrets())
    logs.add_secret("123456:AbCdEfGhIjKl")
    environ = {
        "TAKOPI_CONFIG": "/home/me/takopi.toml",
        "TAKOPI_PROXY": "https://x/bot123456:AbCdEfGhIjKl",
        "OPENAI_API_KEY": "123456:AbCdEfGhIjKl",  # the user's own, for the engine too
    }
    assert build(environ=environ).env.keys() == {"TAKOPI_CONFIG", "OPENAI_API_KEY"}


@pytest.mark.anyio
@pytest.mark.skipif(os.name != "posix", reason="processes are started the POSIX way")
async def test_the_environment_of_a_real_engine(tmp_path, monkeypatch):
    engine = tmp_path / "acme"
    engine.write_text(
        f"#!{sys.executable}\n"
        "import json, os\n"
        "print(json.dumps({'type': 'init', 'session': 's'}))\n"
        "names = {k: v for k, v in os.environ.items() if 'takopi' in k.lower() or k == 'MINE'}\n"
        "print(json.dumps({'type': 'result', 'text': json.dumps(names)}))\n"
    )
    engine.chmod(0o755)
    adapter = adapter_from(f"command: {engine}\n{EVENTS}")
    table = {"env": {"MINE": "1"}}
    options = resolve_options(
        adapter.id, adapter.spec.options, adapter.options_read, table, "takopi.toml"
    )
    environ = dict(os.environ) | {"TAKOPI__A": "t", "takopi__b": "t", "TAKOPI_CONFIG": "/c"}
    runner = AdapterRunner(adapter, options, environ=environ)
    events = [event async for event in runner.run("hello")]
    assert json.loads(events[-1].answer) == {"TAKOPI_CONFIG": "/c", "MINE": "1"}
