"""Chat mode's sessions: who goes on with what, on disk and while runs have none yet."""

import json

import pytest

from takopi.bridge.delivery import MessageRef
from takopi.bridge.vocabulary import Inbound, RunRequest, Session, Why
from takopi.model import ResumeToken, RunContext
from takopi.telegram.sessions import FILE_NAME, ChatSessions

SITE = RunContext("site", "dev")


def request(chat=5, sender=7, number=1, context=None, thread=None):
    at = MessageRef(chat, number, thread_id=thread, sender_id=sender)
    return RunRequest(Inbound(at, "x"), "x", "acme", context, Why("global", "none", "new"))


def token(value="s1"):
    return ResumeToken("acme", value)


@pytest.fixture
def sessions(tmp_path):
    return again(tmp_path)


def again(tmp_path, cwd=None):
    """What the next takopi reads."""
    return ChatSessions(tmp_path / "takopi.toml", cwd or tmp_path)


def saved(tmp_path):
    return json.loads((tmp_path / FILE_NAME).read_text())


def known(sessions, asked):
    return sessions.scope(asked.asked).sessions


def run(sessions, asked, value="s1"):
    sessions.started(asked, None, opens=True)
    sessions.learned(asked, token(value))
    sessions.ended(asked, None)


def test_f30_a_run_without_a_session_is_what_the_next_message_follows(sessions):
    first = request()
    sessions.started(first, None, opens=True)
    assert known(sessions, first) == {"acme": Session(None, first.asked, None)}
    sessions.ended(first, None)
    assert known(sessions, first) == {}


def test_f03_a_session_survives_a_restart_with_its_place(tmp_path, sessions):
    run(sessions, request(context=SITE))
    found = known(again(tmp_path), request())
    assert found == {"acme": Session(token(), None, SITE)}
    assert saved(tmp_path)["chats"] == {
        "5:chat": {"sessions": {"acme": {"resume": "s1", "project": "site", "branch": "dev"}}}
    }


def test_in_groups_and_topics_everybody_has_sessions_of_their_own(sessions):
    run(sessions, request(chat=-5, sender=7))
    assert known(sessions, request(chat=-5, sender=7))
    assert not known(sessions, request(chat=-5, sender=8))
    assert not known(sessions, request(chat=-5, sender=7, thread=3))


def test_a_session_that_was_left_meanwhile_is_not_gone_on_with(sessions):
    first, second = request(number=1), request(number=2)
    sessions.started(first, None, opens=True)
    sessions.forget(first.asked)
    sessions.learned(first, token())
    assert known(sessions, first) == {}
    sessions.started(first, None, opens=True)
    sessions.started(second, None, opens=True)
    sessions.learned(first, token("old"))
    sessions.learned(second, token("new"))
    assert known(sessions, first)["acme"].token == token("new")


def test_an_heir_opens_the_session_instead(sessions):
    first, second = request(number=1), request(number=2)
    sessions.started(first, None, opens=True)
    sessions.ended(first, second)
    assert known(sessions, first)["acme"].run == second.asked


def test_forgetting_counts_after_a_restart_too(tmp_path, sessions):
    run(sessions, request())
    sessions.forget(request().asked)
    assert known(again(tmp_path), request()) == {}


def test_another_working_directory_forgets_everything(tmp_path, sessions):
    run(sessions, request())
    (tmp_path / "elsewhere").mkdir()
    assert known(again(tmp_path, tmp_path / "elsewhere"), request()) == {}
    assert saved(tmp_path)["cwd"] == str(tmp_path / "elsewhere")


def test_f03_version_1_is_read_and_matches_any_place(tmp_path):
    old = {"5:chat": {"sessions": {"acme": {"resume": "s0"}}}}
    data = {"version": 1, "cwd": str(tmp_path), "chats": old}
    (tmp_path / FILE_NAME).write_text(json.dumps(data))
    sessions = again(tmp_path)
    assert known(sessions, request()) == {"acme": Session(token("s0"), None, None, anywhere=True)}
    run(sessions, request(chat=6))
    assert saved(tmp_path)["version"] == 2
    assert known(again(tmp_path), request())["acme"].anywhere


def test_f02_a_broken_file_is_put_aside(tmp_path):
    (tmp_path / FILE_NAME).write_text("{ not json")
    run(again(tmp_path), request())
    assert [p.read_text() for p in tmp_path.glob("*.bad-*")] == ["{ not json"]


def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path):
    sessions = ChatSessions(tmp_path / "missing/takopi.toml", tmp_path)
    run(sessions, request())
    sessions.forget(request().asked)
    assert known(sessions, request()) == {}
