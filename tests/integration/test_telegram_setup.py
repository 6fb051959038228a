"""Setting Telegram up, against the fake server: `--onboard`, `takopi chat-id`, `takopi doctor`."""

import json
import re
import stat
import subprocess
import threading
import tomllib

import httpx
import pytest

from takopi.lockfile import acquire_lock, token_fingerprint
from tests.fake_telegram import FakeTelegram, User
from tests.support.command_line import SCRIPTS, environment, in_terminal, takopi

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
    assert found["webhook"] == ("ok", "none")
    assert found["access"] == ("ok", "one private chat")
    for feature in ("topics", "file transfer", "voice transcription"):
        assert found[feature] == ("ok", "disabled")
    assert found["telegram state"] == ("ok", "its files can be read")
    assert done.returncode == 0, done.stdout


def test_doctor_finds_a_wrong_token_and_shows_none(home, tg):
    configure(home, tg, "chat_id = 7", token="123:wrong-token-0123456789")
    done, found = checks(home)
    assert found["telegram token"] == ("error", "failed to fetch bot info")
    assert found["chat_id"] == ("error", "skipped (token invalid)")
    assert found["topics"] == ("error", "skipped (token invalid)")
    assert "webhook" not in found
    assert done.returncode == 1
    assert "wrong-token" not in done.stdout + done.stderr


def set_webhook(tg, url):
    done = httpx.post(f"{tg.url}/bot{tg.token}/setWebhook", json={"url": url})
    assert done.json()["ok"], done.text


def test_f59_doctor_finds_a_webhook_and_hides_the_token_in_its_address(home, tg):
    set_webhook(tg, f"https://hooks.example.org:8443/{tg.token}?secret=sesame")
    done, found = checks(home)
    assert done.returncode == 1
    assert found["webhook"] == (
        "error",
        "messages go to hooks.example.org, so takopi gets none",
    )
    assert "bot<token>/deleteWebhook" in done.stdout
    assert found["chat_id"][0] == "ok"  # the bot can still write
    assert tg.token not in done.stdout + done.stderr
    assert "sesame" not in done.stdout + done.stderr


def test_f59_takopi_does_not_start_with_a_webhook_and_says_how_to_delete_it(home, tg):
    set_webhook(tg, f"https://hooks.example.org/{tg.token}")
    done = takopi(home)
    assert done.returncode == 1, done.stderr
    assert "error: a webhook is set for this bot" in done.stderr
    assert "bot<token>/deleteWebhook" in done.stderr
    assert "another program" not in done.stderr
    assert tg.token not in done.stdout + done.stderr
    assert not tg.calls("sendMessage")  # it is not "ready"


@pytest.mark.slow
def test_f59_a_webhook_that_comes_while_takopi_runs_is_told_and_waited_out(home, tg, dm):
    with (home / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            [SCRIPTS / "takopi"],
            env=environment(home),
            cwd=home / "project",
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
        )
    try:
        dm.bot_message(contains="takopi is ready", timeout=30)
        set_webhook(tg, "https://hooks.example.org/x")
        tg.wait_for(lambda: "polling.conflict" in (home / "stderr").read_text(), 30)
        set_webhook(tg, "")
        dm.send("/help")
        dm.bot_message(contains="a plain message goes to", timeout=30)
    finally:
        process.terminate()
        process.wait(30)
    said = (home / "stderr").read_text()
    assert said.count("a webhook is set for this bot") == 1
    assert "another program" not in said
    assert tg.token not in said


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
    with acquire_lock(config_path=home / ".takopi/takopi.toml"):
        done = takopi(home, "chat-id")
    assert done.returncode == 1
    assert "takopi is running" in done.stderr
    assert not tg.calls("getUpdates")


def test_f58_chat_id_finds_one_that_was_started_with_another_file(home, tg, monkeypatch):
    monkeypatch.setenv("HOME", str(home))
    fingerprint = token_fingerprint(tg.token)
    with acquire_lock(config_path=home / "other/takopi.toml", token_fingerprint=fingerprint):
        done = takopi(home, "chat-id")
    assert done.returncode == 1
    assert re.search(r"takopi is running \(process \d+\) and takes the messages", done.stderr)
    assert not tg.calls("getUpdates")
    assert tg.token not in done.stdout + done.stderr


def test_f58_a_lock_that_cannot_be_read_is_no_bug_and_no_permission(home, tg):
    (home / ".takopi/takopi.lock").symlink_to("takopi.lock")
    done = takopi(home, "chat-id")
    assert done.returncode == 1, done.stderr
    assert "error: cannot tell whether takopi is running" in done.stderr
    assert "takopi.lock" in done.stderr
    assert not tg.calls("getUpdates")


def test_f59_chat_id_does_not_wait_for_messages_that_a_webhook_takes(home, tg):
    set_webhook(tg, "https://hooks.example.org/x")
    done = takopi(home, "chat-id")
    assert done.returncode == 1
    assert "error: a webhook is set for this bot" in done.stderr


def test_f57_a_name_cannot_disguise_its_chat(home, tg):
    mallory = tg.private(User(8, "\x1b[2K\rAlice\u202e", None))
    thread = when_polled(tg, lambda: mallory.send("hi"))
    answers = [(b"id 8; use this chat?", b"y\n")]
    code, shown = in_terminal(home, answers, "chat-id")
    thread.join()
    assert code == 0, shown
    assert "written by [2KAlice, id 8; use this chat?" in shown


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


def onboard(home, tg, chat_id):
    answers = [
        (b"paste your bot token:", f"{tg.token}\n".encode()),
        (b"wait for a message from the chat:", f"{chat_id}\n".encode()),
        (b"save config to", b"\n"),
        (b"setup complete", b"\x03"),
    ]
    return in_terminal(home, answers, "--onboard")[1]


def test_f57_a_private_chat_that_is_typed_in_may_use_the_bot(home, tg):
    configure(home, tg, "chat_id = 1", "allowed_user_ids = [1]")
    shown = onboard(home, tg, 7)
    table = config(home)["transports"]["telegram"]
    assert (table["chat_id"], table["allowed_user_ids"]) == (7, [1, 7])
    assert stat.S_IMODE((home / ".takopi/takopi.toml").stat().st_mode) == 0o600
    assert "anyone in" not in shown


def test_f44_onboarding_says_that_everybody_in_a_group_may_use_the_bot(home, tg):
    configure(home, tg, "chat_id = 1")
    shown = onboard(home, tg, -100)
    table = config(home)["transports"]["telegram"]
    assert table["chat_id"] == -100
    assert "allowed_user_ids" not in table
    assert "anyone in -100 can run engines on this computer" in shown


def test_onboarding_does_not_stumble_over_a_list_that_is_none(home, tg):
    configure(home, tg, "chat_id = 1", "allowed_user_ids = '7'")
    before = (home / ".takopi/takopi.toml").read_bytes()
    answers = [
        (b"paste your bot token:", f"{tg.token}\n".encode()),
        (b"wait for a message from the chat:", b"7\n"),
        (b"save config to", b"\n"),
    ]
    code, shown = in_terminal(home, answers, "--onboard")
    assert code == 1, shown
    assert "allowed_user_ids" in shown
    assert "Traceback" not in shown
    assert (home / ".takopi/takopi.toml").read_bytes() == before


def test_onboarding_that_is_broken_off_writes_nothing(home):
    before = (home / ".takopi/takopi.toml").read_bytes()
    code, shown = in_terminal(home, [(b"paste your bot token:", b"\x04")], "--onboard")
    assert code == 1, shown
    assert "the set-up was broken off" in shown
    assert (home / ".takopi/takopi.toml").read_bytes() == before
