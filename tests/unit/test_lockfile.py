"""The lock file: its format, and the table of what may be taken."""

import errno
import fcntl
import hashlib
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from takopi.errors import LockError
from takopi.lockfile import acquire_lock, read_lock, token_fingerprint

A, B = "a" * 10, "b" * 10


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / "home" / ".takopi"
    folder.mkdir(parents=True)
    return folder / "takopi.toml"


@pytest.fixture
def lock(config):
    return config.with_suffix(".lock")


@pytest.fixture
def stranger():
    """A live process that is no takopi."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process.pid
    process.kill()
    process.wait()


@pytest.fixture
def no_locks(monkeypatch):
    def flock(fd, operation):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", flock)


def wrote(lock, pid, fingerprint=None):
    lock.write_text(json.dumps({"pid": pid, "token_fingerprint": fingerprint}))


def test_a_fingerprint_is_ten_digits_of_sha256():
    assert token_fingerprint("123:abc") == hashlib.sha256(b"123:abc").hexdigest()[:10]
    assert token_fingerprint(None) is None
    assert token_fingerprint("") is None


def test_the_file_format_is_kept(config, lock):
    with acquire_lock(config_path=config, token_fingerprint=A):
        assert (
            lock.read_text() == f'{{\n  "pid": {os.getpid()},\n  "token_fingerprint": "{A}"\n}}\n'
        )
        assert lock.stat().st_mode & 0o777 == 0o600
        assert read_lock(lock).token_fingerprint == A
    assert not lock.exists()
    with acquire_lock(config_path=config):
        assert '"token_fingerprint": null' in lock.read_text()


def test_the_path_is_expanded_and_resolved(config, lock, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(config.parent)
    with acquire_lock(config_path=link / "takopi.toml") as handle:
        assert handle.paths == (lock,)
    with acquire_lock(config_path=Path("~/.takopi/takopi.toml")) as handle:
        assert handle.paths == (lock,)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"no json", b"[1]", b"7", b"[" * 60000])
def test_a_file_that_says_nothing_is_taken(config, lock, content):
    lock.write_bytes(content)
    with acquire_lock(config_path=config):
        assert read_lock(lock).pid == os.getpid()


@pytest.mark.parametrize("pid", [None, "12", 1.5, True, 0, -1, 2**31 - 1, 10**30])
def test_a_pid_that_is_none_or_dead_is_stale(config, lock, pid, no_locks):
    wrote(lock, pid)
    with acquire_lock(config_path=config):
        assert read_lock(lock).pid == os.getpid()


def test_a_second_acquire_in_the_process_is_refused_and_harms_nothing(config, lock):
    with acquire_lock(config_path=config, token_fingerprint=A) as first:
        for fingerprint in (A, None):
            with pytest.raises(LockError, match="already running"):
                acquire_lock(config_path=config, token_fingerprint=fingerprint)
        assert all(path.exists() for path in first.paths)
    with acquire_lock(config_path=config, token_fingerprint=A):
        pass
    assert not any(path.exists() for path in first.paths)


def test_the_message_says_what_to_remove(config, lock):
    with acquire_lock(config_path=config), pytest.raises(LockError) as caught:
        acquire_lock(config_path=config)
    assert str(caught.value) == "already running\nremove ~/.takopi/takopi.lock if stale"
    assert (caught.value.path, caught.value.state) == (lock, "running")


def test_other_failures_have_their_reason(config, lock):
    lock.mkdir()
    with pytest.raises(LockError) as caught:
        acquire_lock(config_path=config, token_fingerprint=A)
    assert (str(caught.value), caught.value.state) == ("lock failed: Is a directory", "failed")
    lock.rmdir()
    acquire_lock(config_path=config, token_fingerprint=A).release()  # nothing was left locked


def test_s23_a_live_pid_that_is_no_takopi_does_not_hold_a_lock(config, lock, stranger):
    wrote(lock, stranger)
    with acquire_lock(config_path=config):
        assert read_lock(lock).pid == os.getpid()


def test_s23_a_file_with_our_own_pid_is_stale(config, lock):
    wrote(lock, os.getpid())  # pid 1 of the container before this one
    acquire_lock(config_path=config).release()


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc")
def test_s23_an_older_takopi_that_does_not_lock_is_refused(config, lock, tmp_path):
    program = tmp_path / "takopi"
    program.write_text("import time; print(flush=True); time.sleep(60)")
    process = subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        wrote(lock, process.pid)
        with pytest.raises(LockError, match="already running"):
            acquire_lock(config_path=config)
        before = time.time() - 3600  # then the pid was used again since
        os.utime(lock, (before, before))
        acquire_lock(config_path=config).release()
    finally:
        process.kill()
        process.communicate()


def test_s23_without_file_locks_a_live_pid_has_to_do(config, lock, stranger, no_locks):
    wrote(lock, stranger)
    with pytest.raises(LockError, match="already running"):
        acquire_lock(config_path=config)
    wrote(lock, stranger, B)
    with acquire_lock(config_path=config, token_fingerprint=A):
        with pytest.raises(LockError, match="already running"):
            acquire_lock(config_path=config, token_fingerprint=A)
        assert read_lock(lock).token_fingerprint == A
    assert not lock.exists()


def test_s23_another_bots_lock_is_replaced_and_both_stay_owners_of_their_own(config, lock):
    first = acquire_lock(config_path=config, token_fingerprint=A)
    second = acquire_lock(config_path=config, token_fingerprint=B)
    assert read_lock(lock).token_fingerprint == B
    first.release()
    assert read_lock(lock).token_fingerprint == B  # not the first's to delete
    with pytest.raises(LockError):
        acquire_lock(config_path=config)
    second.release()
    assert not lock.exists()


def test_s23_a_lock_file_that_was_removed_and_taken_is_not_deleted(config, lock):
    first = acquire_lock(config_path=config)
    lock.unlink()
    second = acquire_lock(config_path=config)
    first.release()
    assert lock.exists()
    second.release()
    first.release()  # again: nothing happens
    assert not lock.exists()


def test_s23_one_token_in_two_configurations_is_refused(config, tmp_path):
    other = tmp_path / "other" / "takopi.toml"
    with acquire_lock(config_path=config, token_fingerprint=A):
        with pytest.raises(LockError) as caught:
            acquire_lock(config_path=other, token_fingerprint=A)
        assert str(caught.value).endswith(f"remove ~/.takopi/locks/{A}.lock if stale")
        acquire_lock(config_path=other, token_fingerprint=B).release()


def test_a_home_that_cannot_hold_locks_is_no_failure(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("takopi"), "propagate", True)
    home = tmp_path / "home"
    home.write_text("a file")
    monkeypatch.setenv("HOME", str(home))
    with acquire_lock(config_path=tmp_path / "takopi.toml", token_fingerprint=A) as handle:
        assert handle.paths == (tmp_path / "takopi.lock",)
    assert "lock.token.unavailable" in caplog.text


def test_a_link_in_place_of_the_file_is_not_followed(config, lock, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    lock.symlink_to(victim)
    with pytest.raises(LockError, match="lock failed: "):
        acquire_lock(config_path=config)
    assert victim.read_text() == "precious"


def test_engines_do_not_inherit_the_lock(config):
    with acquire_lock(config_path=config, token_fingerprint=A) as handle:
        child = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False
        )
        handle.release()
        acquire_lock(config_path=config, token_fingerprint=A).release()
        child.communicate(b"\n")


def test_a_forked_child_cannot_give_the_lock_back(config, lock, monkeypatch):
    handle = acquire_lock(config_path=config)
    monkeypatch.setattr(os, "getpid", lambda: 1)
    handle.release()
    assert lock.exists()


def test_s23_a_file_that_is_deleted_before_it_is_locked_is_not_the_lock(config, lock, monkeypatch):
    flock, deleted = fcntl.flock, []

    def slow(fd, operation):
        if os.path.isdir(f"/dev/fd/{fd}"):
            raise OSError(errno.EBADF, "directories cannot be locked here")
        if not deleted:
            deleted.append(lock.unlink())
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", slow)
    with acquire_lock(config_path=config):
        assert deleted
        assert read_lock(lock).pid == os.getpid()
        with pytest.raises(LockError):
            acquire_lock(config_path=config)
