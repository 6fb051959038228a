"""What `takopi doctor` says about a bot, against the fake server."""

import os

import httpx
import pytest

from takopi.config import TelegramSettings
from takopi.lockfile import acquire_lock, token_fingerprint
from takopi.telegram.checks import checks
from tests.fake_telegram import FakeTelegram, Http, Refuse

DAMAGED = "telegram_open_runs_state.json is damaged"


@pytest.fixture
def tg():
    with FakeTelegram() as server:
        yield server
        server.check()


@pytest.fixture
def dm(tg):
    return tg.private(tg.user(7, "Alice"))


@pytest.fixture
def group(tg, dm):
    return tg.group("team", kind="group", admins=[tg.user(7)])


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = tmp_path / "here/takopi.toml"
    path.parent.mkdir()
    path.write_text("")
    return path


@pytest.fixture
def rows(tg, dm, path):
    """Asks, and gives the rows by their label: state, detail and advice."""

    def ask(**settings):
        table = {"bot_token": tg.token, "api_url": tg.url, "chat_id": dm.id, **settings}
        found = list(checks(TelegramSettings(**table), path))
        assert len({label for label, *_ in found}) == len(found)
        return {label: (state, detail, advice) for label, state, detail, advice in found}

    return ask


def set_webhook(tg, url):
    done = httpx.post(f"{tg.url}/bot{tg.token}/setWebhook", json={"url": url})
    assert done.json()["ok"], done.text


def test_all_is_well(rows):
    assert rows() == {
        "telegram token": ("ok", "@fake_bot", None),
        "webhook": ("ok", "none", None),
        "chat_id": ("ok", "private (7)", None),
        "access": ("ok", "one private chat", None),
        "topics": ("ok", "disabled", None),
        "file transfer": ("ok", "disabled", None),
        "voice transcription": ("ok", "disabled", None),
        "telegram state": ("ok", "its files can be read", None),
    }


def test_without_a_bot_only_the_rest_is_checked(rows, tg):
    found = rows(bot_token="123:wrong-token-0123456789")
    assert found["telegram token"][:2] == ("error", "failed to fetch bot info")
    assert found["chat_id"] == found["topics"] == ("error", "skipped (token invalid)", None)
    assert "webhook" not in found
    assert found["access"][0] == found["telegram state"][0] == "ok"
    assert not tg.calls()  # all were refused


def test_an_address_that_is_none_is_one_error(rows):
    found = rows(api_url="nowhere")
    assert list(found) == ["telegram"]
    assert found["telegram"][0] == "error"


def test_without_a_network_the_token_is_not_blamed(rows, tg):
    with tg.offline():
        found = rows()
    assert found["telegram token"][:2] == ("error", "failed to fetch bot info")
    assert "see whether the network and `api_url` are right" in found["telegram token"][2]
    assert tg.token not in str(found)


# -- webhook -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://hooks.example.org:8443/{token}?secret=sesame", "hooks.example.org"),
        ("https://user:{token}@hooks.example.org/", "hooks.example.org"),
        ("https://[::{token}/sesame", "a server"),
    ],
)
def test_f59_a_webhook_is_an_error_that_says_where_to_and_hides_the_rest(rows, tg, url, host):
    set_webhook(tg, url.format(token=tg.token))
    found = rows()
    state, detail, advice = found["webhook"]
    assert (state, detail) == ("error", f"messages go to {host}, so takopi gets none")
    assert "api.telegram.org/bot<token>/deleteWebhook" in advice
    assert tg.token not in str(found)
    assert "sesame" not in str(found)
    assert found["chat_id"][0] == "ok"  # the bot can write all the same


def test_f59_an_unanswered_question_for_a_webhook_is_a_warning(rows, tg):
    tg.fail("getWebhookInfo", Http(502, "<html>"))
    state, detail, _ = rows()["webhook"]
    assert (state, detail) == ("warning", "cannot be asked for: HTTP 502")


# -- chats -------------------------------------------------------------------------------------


def test_chats_of_projects_are_looked_for_too(rows, path, group):
    path.write_text(
        f"[projects.Site]\npath = '/'\nchat_id = {group.id}\n"
        "[projects.Gone]\npath = '/'\nchat_id = -5555\n"
    )
    found = rows()
    assert found["projects.Site.chat_id"] == ("ok", f"group ({group.id})", None)
    assert found["projects.Gone.chat_id"][:2] == ("error", "unreachable (-5555)")
    assert "add it to the group" in found["projects.Gone.chat_id"][2]


def test_a_group_that_got_another_number_is_no_longer_the_one_that_is_listened_to(rows, tg, group):
    new = group.upgrade(by=tg.user(7))
    state, detail, advice = rows(chat_id=group.id)["chat_id"]
    assert (state, detail) == ("error", f"the chat {group.id} is now {new.id}")
    assert advice == f"takopi config set transports.telegram.chat_id {new.id}"


def test_the_chat_is_not_blamed_for_the_network(rows, tg):
    tg.fail("getChat", Http(502, "<html>"))
    state, detail, advice = rows()["chat_id"]
    assert (state, detail, advice) == ("error", "unreachable (7)", "try again later: HTTP 502")


def test_a_bot_that_was_blocked_cannot_reach_its_chat(rows, tg):
    tg.fail("getChat", Refuse(403, "Forbidden: bot was blocked by the user"))
    assert rows()["chat_id"][:2] == ("error", "unreachable (7)")


# -- access ------------------------------------------------------------------------------------


def test_f44_groups_that_are_open_are_named(rows, path, group):
    path.write_text(f"[projects.Site]\npath = '/'\nchat_id = {group.id}\n")
    state, detail, advice = rows()["access"]
    assert (state, detail) == (
        "warning",
        f"anyone in {group.id} can run engines on this computer",
    )
    assert "transports.telegram.allowed_user_ids" in advice
    assert rows(allowed_user_ids=[7, 8])["access"] == ("ok", "restricted to 2 user id(s)", None)


def test_several_private_chats_are_counted(rows, path, tg):
    tg.private(tg.user(8))
    path.write_text("[projects.Site]\npath = '/'\nchat_id = 8\n")
    assert rows()["access"] == ("ok", "2 private chats", None)


def test_f58_another_takopi_that_has_the_bot_is_named(rows, path, tg, tmp_path):
    fingerprint = token_fingerprint(tg.token)
    with acquire_lock(
        config_path=tmp_path / "there/takopi.toml", token_fingerprint=fingerprint
    ) as lock:
        state, detail, _ = rows()["telegram lock"]
        assert (state, detail) == (
            "warning",
            f"process {os.getpid()} uses this bot, with another configuration",
        )
        of_bot = lock.paths[1]
        assert of_bot.is_relative_to(tmp_path / "home")
    with acquire_lock(config_path=path, token_fingerprint=fingerprint):
        assert "telegram lock" not in rows()  # doctor's own row says it
    of_bot.symlink_to("nowhere")
    assert rows()["telegram lock"][0] == "error"


# -- the rest ----------------------------------------------------------------------------------


def test_what_is_switched_on_and_not_there_is_named(rows):
    found = rows(topics={"enabled": True}, files={"enabled": True}, voice_transcription=True)
    for label in ("topics", "file transfer", "voice transcription"):
        assert found[label] == ("warning", "not there yet", "switch it off until then")


@pytest.mark.parametrize(
    ("content", "state", "words"),
    [
        (b'{"version": 1, "runs": {}}', "ok", "its files can be read"),
        (b"\xef\xbb\xbf{}", "ok", "its files can be read"),
        (b"{", "warning", DAMAGED),
        (b"[]", "warning", DAMAGED),
        (b"\xff\xff", "warning", DAMAGED),
        (b"[" * 100_000, "warning", DAMAGED),
        (None, "error", "telegram_open_runs_state.json cannot be read: Is a directory"),
    ],
    ids=["good", "bom", "cut", "list", "bytes", "deep", "folder"],
)
def test_f59_state_files_are_read_and_left_alone(rows, path, content, state, words):
    file = path.with_name("telegram_open_runs_state.json")
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    found = rows()["telegram state"]
    assert found[0] == state
    assert words in found[1]
    assert [each.name for each in path.parent.iterdir() if each != path] == [file.name]
    assert content is None or file.read_bytes() == content
