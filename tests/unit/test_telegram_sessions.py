"""Chat mode's sessions: who goes on with what, on disk and while runs have none yet."""

import json
from pathlib import Path

import pytest

from takopi.bridge.delivery import MessageRef
from takopi.bridge.vocabulary import Inbound, RunRequest, Session, Why
from takopi.config.projects import ProjectConfig, ProjectsConfig
from takopi.model import ResumeToken, RunContext
from takopi.telegram.sessions import FILE_NAME, ChatSessions

SITE = RunContext("site", "dev")
PROJECTS = {
    key: ProjectConfig(alias=key, path=Path(f"/{key}"), worktrees_dir=Path("w"))
    for key in ("site", "docs")
}


def request(chat=5, sender=7, number=1, context=None, thread=None):
    at = MessageRef(chat, number, thread_id=thread, sender_id=sender)
    return RunRequest(Inbound(at, "x"), "x", "acme", context, Why("global", "none", "new"))


def token(value="s1"):
    return ResumeToken("acme", value)


@pytest.fixture
def sessions(tmp_path):
    return again(tmp_path)


def again(tmp_path, cwd=None, projects=PROJECTS):
    """What the next takopi reads."""
    config = ProjectsConfig(projects)
    return ChatSessions(tmp_path / "takopi.toml", cwd or tmp_path, lambda: config)


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
        "5:chat": {
            "sessions": {
                "acme": {"resume": "s1", "folder": "/site", "project": "site", "branch": "dev"}
            }
        }
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
    sessions.started(second, None, opens=False)
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
    (tmp_path / "file").touch()
    sessions = ChatSessions(tmp_path / "file/takopi.toml", tmp_path, ProjectsConfig)
    run(sessions, request())
    assert known(sessions, request())["acme"].token == token()  # as long as this process lives
    sessions.forget(request().asked)
    assert known(sessions, request()) == {}


def test_f03_a_project_that_moved_has_no_session_in_its_new_folder(tmp_path, sessions):
    run(sessions, request(context=SITE))
    run(sessions, request(number=2, sender=8, chat=-5))
    moved = {"site": ProjectConfig(alias="site", path=Path("/new"), worktrees_dir=Path("w"))}
    assert known(again(tmp_path, projects=moved), request()) == {}
    assert known(again(tmp_path, projects={}), request()) == {}
    assert known(again(tmp_path, projects={}), request(sender=8, chat=-5))
    assert known(again(tmp_path), request())["acme"].context == SITE


def test_a_reply_to_a_run_without_a_session_goes_on_with_what_that_becomes(tmp_path, sessions):
    other, reply = request(chat=-5, sender=8), request(chat=-5, sender=7, number=2)
    sessions.started(other, None, opens=True)
    sessions.started(reply, None, opens=False)
    assert known(sessions, reply) == {}
    sessions.learned(other, token())
    sessions.learned(reply, token())
    assert known(again(tmp_path), reply)["acme"].token == token()


def test_a_session_that_never_answered_does_not_take_the_place_of_the_last_good_one(
    tmp_path, sessions
):
    run(sessions, request(number=1), "good")
    reply = request(number=2)
    sessions.started(reply, token("long gone"), opens=False)
    assert known(sessions, reply)["acme"].token == token("long gone")
    assert known(again(tmp_path), reply)["acme"].token == token("good")
    sessions.ended(reply, None)
    assert known(sessions, reply)["acme"].token == token("good")


def test_what_was_asked_last_is_kept_also_if_it_was_told_first(tmp_path, sessions):
    first, second, third = (request(number=n) for n in (1, 2, 3))
    for each in (first, second, third):
        sessions.started(each, None, opens=True)
    sessions.ended(third, None)  # taken back
    sessions.learned(second, token("second"))
    sessions.learned(first, token("first"))
    sessions.ended(first, None)
    sessions.ended(second, None)
    assert known(again(tmp_path), first)["acme"].token == token("second")


@pytest.mark.parametrize("blank", ["", "  "])
def test_blank_strings_are_absent(tmp_path, blank):
    entries = {
        "acme": {"resume": blank, "folder": str(tmp_path)},
        "other": {"resume": "s1", "folder": str(tmp_path), "project": blank, "branch": blank},
    }
    data = {"version": 2, "cwd": str(tmp_path), "chats": {"5:chat": {"sessions": entries}}}
    (tmp_path / FILE_NAME).write_text(json.dumps(data))
    assert known(again(tmp_path), request()) == {"other": Session(ResumeToken("other", "s1"))}


def test_a_group_message_of_nobody_has_no_session(tmp_path, sessions):
    nobody = request(chat=-5, sender=None)
    assert not sessions.has_place_for(nobody.asked)
    run(sessions, nobody)
    assert known(sessions, nobody) == {}
    sessions.forget(nobody.asked)
    assert saved(tmp_path)["chats"] == {}
    assert sessions.has_place_for(request(chat=5, sender=None).asked)


def test_f02_a_file_that_cannot_be_read_is_never_overwritten(tmp_path, sessions, monkeypatch):
    run(sessions, request(), "kept")
    before = (tmp_path / FILE_NAME).read_text()

    def refuse(path):
        raise PermissionError(13, "no")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        blind = again(tmp_path)
        run(blind, request(number=2), "new")
        assert known(blind, request())["acme"].token == token("new")
        blind.forget(request().asked)
        assert (tmp_path / FILE_NAME).read_text() == before


def test_f02_a_bad_file_that_cannot_be_put_aside_is_never_overwritten(tmp_path, monkeypatch):
    (tmp_path / FILE_NAME).write_text("{ not json")

    def refuse(*_):
        raise PermissionError(13, "no")

    monkeypatch.setattr("takopi.telegram.state_store.os.rename", refuse)
    run(again(tmp_path), request())
    assert (tmp_path / FILE_NAME).read_text() == "{ not json"


def test_a_full_disk_costs_the_file_and_not_the_session(tmp_path, sessions, monkeypatch):
    run(sessions, request(), "old")
    before = (tmp_path / FILE_NAME).read_text()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("takopi.telegram.state_store.atomic_write_json", full)
    run(sessions, request(number=2), "new")
    assert known(sessions, request())["acme"].token == token("new")
    assert (tmp_path / FILE_NAME).read_text() == before


def test_a_file_that_is_deleted_meanwhile_is_an_empty_one(tmp_path, sessions):
    run(sessions, request())
    (tmp_path / FILE_NAME).unlink()
    assert known(sessions, request()) == {}
    run(sessions, request(number=2), "next")
    assert saved(tmp_path)["cwd"] == str(tmp_path)
