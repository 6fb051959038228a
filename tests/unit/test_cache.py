"""Verdicts on adapter files, remembered between two starts of takopi."""

import os
import stat

import pytest

from takopi.adapters import cache
from takopi.adapters.cache import Verdict, VerdictCache, user_cache
from takopi.adapters.catalog import Catalog, load_catalog
from takopi.config import Config

TEXT = "adapter: 1\nid: acme\n"
GOOD = Verdict(0, "Acme", "acme", "pip install acme", "1.0")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache" / "takopi" / "adapters"


@pytest.fixture
def notes(folder):
    return VerdictCache(folder)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "acme.yaml"


def no_parent(engine):
    raise AssertionError(f"asked for the parent {engine}")


def only_note(folder):
    (found,) = folder.iterdir()
    return found


# -- the notes ---------------------------------------------------------------------------------------


def test_remembers(notes, file, folder):
    assert notes.load(file, TEXT, no_parent) is None
    notes.save(file, TEXT, [], GOOD)
    assert VerdictCache(folder).load(file, TEXT, no_parent) == GOOD


def test_belongs_to_the_user_alone(notes, file, folder):
    notes.save(file, TEXT, [], GOOD)
    assert stat.S_IMODE(only_note(folder).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) & 0o077 == 0


def test_another_text_is_another_adapter(notes, file):
    notes.save(file, TEXT, [], GOOD)
    assert notes.load(file, TEXT + "# edited\n", no_parent) is None


def test_the_same_text_elsewhere_is_another_adapter(notes, file):
    notes.save(file, TEXT, [], GOOD)
    assert notes.load(file.with_name("other.yaml"), TEXT, no_parent) is None


def test_a_newer_verdict_takes_the_place_of_the_old(notes, file, folder):
    notes.save(file, TEXT, [], GOOD)
    notes.save(file, TEXT, [], Verdict(2))
    assert notes.load(file, TEXT, no_parent) == Verdict(2)
    only_note(folder)


def test_depends_on_the_parents(notes, file):
    notes.save(file, TEXT, [("base", "b"), ("base", "b2"), ("gone", None)], GOOD)

    def texts(*found):
        left = list(found)
        return lambda engine: left.pop(0)

    assert notes.load(file, TEXT, texts("b", "b2", None)) == GOOD
    assert notes.load(file, TEXT, texts("b", "edited", None)) is None
    assert notes.load(file, TEXT, texts("b", "b2", "there now")) is None
    assert notes.load(file, TEXT, texts("b", None, None)) is None


def test_another_takopi_looks_again(notes, file, monkeypatch):
    notes.save(file, TEXT, [], GOOD)
    monkeypatch.setattr(cache, "_takopi", lambda: "another")
    assert notes.load(file, TEXT, no_parent) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"takopi": 1}', b"\xff\xfe", b"[" * 60_000, b"\x80\x04."],
)
def test_a_broken_note_is_no_note(notes, file, folder, content):
    notes.save(file, TEXT, [], GOOD)
    only_note(folder).write_bytes(content)
    assert notes.load(file, TEXT, no_parent) is None
    notes.save(file, TEXT, [], GOOD)
    assert notes.load(file, TEXT, no_parent) == GOOD


@pytest.mark.parametrize("who", ["note", "folder"])
def test_what_others_may_write_is_not_believed(notes, file, folder, who):
    notes.save(file, TEXT, [], GOOD)
    path = only_note(folder) if who == "note" else folder
    path.chmod(path.stat().st_mode | 0o020)
    assert notes.load(file, TEXT, no_parent) is None


def test_what_others_own_is_not_believed(notes, file, monkeypatch):
    notes.save(file, TEXT, [], GOOD)
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    assert notes.load(file, TEXT, no_parent) is None


def test_links_are_not_followed(notes, file, folder, tmp_path):
    notes.save(file, TEXT, [], GOOD)
    note = only_note(folder)
    note.rename(tmp_path / "elsewhere")
    note.symlink_to(tmp_path / "elsewhere")
    assert notes.load(file, TEXT, no_parent) is None
    notes.save(file, TEXT, [], Verdict(3))  # takes the link's place
    assert not note.is_symlink()
    assert notes.load(file, TEXT, no_parent) == Verdict(3)


def test_a_pipe_in_its_place_does_not_hang(notes, file, folder):
    notes.save(file, TEXT, [], GOOD)
    note = only_note(folder)
    note.unlink()
    os.mkfifo(note, 0o600)
    assert notes.load(file, TEXT, no_parent) is None


def test_a_folder_that_cannot_be_made_costs_nothing(tmp_path, file):
    (tmp_path / "cache").write_text("a file")
    notes = VerdictCache(tmp_path / "cache" / "takopi")
    notes.save(file, TEXT, [], GOOD)
    assert notes.load(file, TEXT, no_parent) is None


def test_without_a_folder_nothing_is_remembered(file):
    notes = VerdictCache(None)
    notes.save(file, TEXT, [], GOOD)
    assert notes.load(file, TEXT, no_parent) is None


@pytest.mark.parametrize("chosen", ["", "relative/cache"])
def test_folder_of_the_user(tmp_path, file, monkeypatch, chosen):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", chosen)
    user_cache().save(file, TEXT, [], GOOD)
    assert (tmp_path / ".cache" / "takopi" / "adapters").is_dir()


def test_folder_the_user_chose(tmp_path, file, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "chosen"))
    user_cache().save(file, TEXT, [], GOOD)
    assert (tmp_path / "chosen" / "takopi" / "adapters").is_dir()


# -- verdicts of a catalog ---------------------------------------------------------------------------

ADAPTER = """\
adapter: 1
id: acme
name: Acme
install: get acme
command: acme-cli
args: ["${run().prompt}"]
resume: null
session: null
events: [{match: {type: a}, complete: {}}]
"""
CHILD = "adapter: 1\nid: child\nextends: acme\nresume: null\n"


@pytest.fixture
def user(tmp_path, monkeypatch):
    """A user's folder of adapters; home and cache are empty."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / ".takopi" / "adapters"
    folder.mkdir(parents=True)
    (folder / "acme.yaml").write_text(ADAPTER)
    return folder


def catalog_of(user):
    return load_catalog(Config(user.parent / "takopi.toml"))


def verdict(user, engine="acme"):
    """The verdict and whether the file had to be compiled for it."""
    catalog = catalog_of(user)
    return catalog.verdict(catalog.entry(engine)), bool(catalog._compiled)


def test_verdict_is_made_once(user):
    expected = Verdict(0, "Acme", "acme-cli", "get acme", None, ("--version",))
    assert verdict(user) == (expected, True)
    assert verdict(user) == (expected, False)


def test_verdict_of_an_edited_file(user):
    verdict(user)
    (user / "acme.yaml").write_text(ADAPTER.replace("acme-cli", "other"))
    found, compiled = verdict(user)
    assert (found.command, compiled) == ("other", True)


def test_verdict_of_a_broken_file(user):
    (user / "acme.yaml").write_text(ADAPTER.replace("name:", "nam:") + "evnts: 1\n")
    assert verdict(user) == (Verdict(errors=2), True)
    assert verdict(user) == (Verdict(errors=2), False)


def test_verdict_when_a_parent_changes(user):
    (user / "child.yaml").write_text(CHILD)
    assert verdict(user, "child")[0].command == "acme-cli"
    assert verdict(user, "child")[1] is False
    (user / "acme.yaml").write_text(ADAPTER.replace("acme-cli", "other"))
    assert verdict(user, "child")[0].command == "other"
    (user / "acme.yaml").unlink()
    assert verdict(user, "child")[0] == Verdict(errors=1)
    (user / "acme.yaml").write_text(ADAPTER)
    assert verdict(user, "child")[0].command == "acme-cli"


def test_verdict_of_a_file_that_cannot_be_read(user):
    (user / "acme.yaml").write_bytes(b"\xff\xfe")
    assert verdict(user)[0] == Verdict(errors=1)


def test_a_computed_command_is_not_known(user):
    (user / "acme.yaml").write_text(ADAPTER.replace("acme-cli", "${env('ACME') || 'acme'}"))
    assert verdict(user)[0].command is None


def test_an_adapter_that_was_judged_is_not_compiled_again(user):
    catalog = catalog_of(user)
    entry = catalog.entry("acme")
    catalog.verdict(entry)
    compiled = catalog._compiled[entry.path]
    assert catalog.compiled(entry) is compiled


def test_a_catalog_made_by_hand_remembers_nothing(user, tmp_path):
    catalog = Catalog(catalog_of(user).entries)
    assert catalog.verdict(catalog.entry("acme")).errors == 0
    assert not (tmp_path / "cache").exists()
