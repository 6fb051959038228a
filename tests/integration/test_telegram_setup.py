"""Setting Telegram up, against the fake server: `--onboard`, `takopi chat-id`, `takopi doctor`."""

import json
import threading
import tomllib

import pytest

from tests.fake_telegram import FakeTelegram
from tests.support.command_line import in_terminal, takopi

ADAPTER = """\
adapter: 1
id: acme
command: acme-cli
args: ["${run().prompt}"]
resume: null
session: null
events: [{match: {type: end}, complete: {answer: text}}]
"""


@pytest.fixture
def tg():
    with FakeTelegram() as server:
        yield server
        server.check()


@pytest.fixture
def dm(tg):
    return tg.private(tg.user(7, "Alice"))


@pytest.fixture
def home(tmp_path, tg, dm):
    for name in ("project", "bin", ".takopi/adapters"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / ".takopi/adapters/acme.yaml").write_text(ADAPTER)
    script = tmp_path / "bin/acme-cli"
    script.write_text("#!/bin/sh\necho acme 1.0\n")
    script.chmod(0o755)
    configure(tmp_path, tg, f"chat_id = {dm.id}")
    return tmp_path


def configure(home, tg, *lines, token=None):
    (home / ".takopi/takopi.toml").write_text(
        'default_engine = "acme"\n[projects.Site]\npath = "../project"\n[transports.telegram]\n'
        f'bot_token = "{token or tg.token}"\napi_url = "{tg.url}"\n' + "\n".join(lines)
    )


def config(home):
    return tomllib.loads((home / ".takopi/takopi.toml").read_text())


def checks(home):
    done = takopi(home, "doctor", "--json")
    found = {c["label"]: (c["state"], c["detail"]) for c in json.loads(done.stdout)}
    return done, found


def test_doctor_asks_the_bot_who_it_is(home):
    done, found = checks(home)
    assert found["telegram token"] == ("ok", "@fake_bot")
    assert found["chat_id"] == ("ok", "private (7)")
    assert found["access"] == ("ok", "one private chat")
    assert done.returncode == 0, done.stdout


def test_doctor_finds_a_wrong_token_and_shows_none(home, tg):
    configure(home, tg, "chat_id = 7", token="123:wrong-token-0123456789")
    done, found = checks(home)
    assert found["telegram token"] == ("error", "failed to fetch bot info")
    assert found["chat_id"] == ("error", "skipped (token invalid)")
    assert done.returncode == 1
    assert "wrong-token" not in done.stdout + done.stderr


def test_f44_doctor_warns_of_a_group_that_is_open_and_of_a_chat_that_is_none(home, tg):
    configure(home, tg, "chat_id = -100123", "voice_transcription = true")
    _, found = checks(home)
    assert found["chat_id"] == ("error", "unreachable (-100123)")
    assert found["access"][0] == "warning"
    assert "-100123" in found["access"][1]
    assert found["telegram features"] == ("warning", "not there yet: voice_transcription")


def when_polled(tg, act):
    """Do something as soon as somebody waits for messages."""

    def wait():
        tg.wait_for(lambda: any(c.params.values.get("timeout") for c in tg.calls("getUpdates")), 30)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_chat_id_shows_the_chat_of_a_message(home, tg):
    bob = tg.private(tg.user(8, "Bob"))

    def write():
        with tg.held():
            bob.send("hi")
            tg.private(tg.user(7)).send("/start")

    thread = when_polled(tg, write)
    answers = [(b"id 8; use this chat?", b"n\n"), (b"id 7; use this chat?", b"\n")]
    code, shown = in_terminal(home, answers, "chat-id")
    thread.join()
    assert code == 0, shown
    assert "Bob, @bob, id 8" in shown
    assert shown.rstrip().endswith("chat_id = 7")


def test_chat_id_binds_a_project(home, tg, dm):
    thread = when_polled(tg, lambda: dm.send("/start"))
    answers = [(b"use this chat?", b"y\n")]
    code, shown = in_terminal(home, answers, "chat-id", "--project", "SITE")
    thread.join()
    assert code == 0, shown
    assert "updated projects.Site.chat_id = 7" in shown
    assert config(home)["projects"]["Site"]["chat_id"] == 7


def test_chat_id_knows_the_project_before_it_waits(home, tg):
    done = takopi(home, "chat-id", "--project", "nope")
    assert done.returncode == 1
    assert "Unknown project 'nope'; run `takopi init nope` first." in done.stderr
    assert not tg.calls()
    assert takopi(home, "chat-id", "--project", " ").returncode == 2


def test_f58_chat_id_takes_no_messages_from_a_running_takopi(home, tg):
    from takopi.lockfile import acquire_lock

    with acquire_lock(config_path=home / ".takopi/takopi.toml"):
        done = takopi(home, "chat-id")
    assert done.returncode == 1
    assert "takopi is running" in done.stderr
    assert not tg.calls("getUpdates")


@pytest.mark.slow
def test_f57_onboarding_writes_the_chat_and_its_owner_and_keeps_the_rest(home, tg, dm):
    configure(home, tg, "chat_id = 1", "message_overflow = 'split'")
    thread = when_polled(tg, lambda: dm.send("/start"))
    answers = [
        (b"paste your bot token:", b"\n"),
        (b"token cannot be empty", f"{tg.token}\n".encode()),
        (b"wait for a message from the chat:", b"\n"),
        (b"use this chat?", b"\n"),
        (b"save config to", b"\n"),
        (b"setup complete", b"\x03"),
    ]
    _, shown = in_terminal(home, answers, "--onboard")
    thread.join()
    assert "connected to @fake_bot" in shown
    assert tg.token not in shown
    table = config(home)["transports"]["telegram"]
    assert (table["chat_id"], table["allowed_user_ids"]) == (7, [7])
    assert table["message_overflow"] == "split"
    assert config(home)["projects"]["Site"] == {"path": "../project"}
    assert config(home)["transport"] == "telegram"


def test_onboarding_that_is_broken_off_writes_nothing(home):
    before = (home / ".takopi/takopi.toml").read_bytes()
    code, shown = in_terminal(home, [(b"paste your bot token:", b"\x04")], "--onboard")
    assert code == 1, shown
    assert "the set-up was broken off" in shown
    assert (home / ".takopi/takopi.toml").read_bytes() == before
