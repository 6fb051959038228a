"""Finding adapters: sources, precedence, shadowing, and files that are broken."""

import os
from pathlib import Path

import pytest

from takopi.adapters.catalog import display_path, file_entry, load_catalog, user_folder
from takopi.bundled import bundled
from takopi.config import Config
from takopi.diagnostics import render_text
from takopi.errors import ConfigError, SpecError, TakopiError

BUILT_IN = sorted(path.stem for path in bundled("adapters").glob("*.yaml"))


def text(engine, command="acme", line=None, extra=""):
    resume = f'{{line: "{line or engine} resume ${{token}}"}}'
    return (
        f'adapter: 1\nid: {engine}\ncommand: {command}\nargs: [run, "${{run().resume}}", "${{run().prompt}}"]\nresume: {resume}\n'
        f"session: {{id: id}}\nevents:\n  - match: {{type: a}}\n    complete: {{}}\n{extra}"
    )


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home with a folder for adapters; the working directory lies elsewhere."""
    folder = tmp_path / "home" / ".takopi" / "adapters"
    folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


@pytest.fixture
def user(home):
    """The folder of the user's adapters."""
    return home / ".takopi" / "adapters"


def write(folder, name, content):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def catalog(home, *paths):
    config = Config(home / ".takopi" / "takopi.toml", {"adapters": {"paths": [*map(str, paths)]}})
    return load_catalog(config)


def origins(found, engine):
    return [(entry.origin, entry.path.name) for entry in found.entries[engine]]


def test_built_in_adapters_are_there(home):
    found = catalog(home)
    assert found.ids == BUILT_IN
    assert found.problems == []
    assert {entry.origin for entries in found.entries.values() for entry in entries} == {"built-in"}


def test_every_built_in_adapter_is_valid_together_with_the_others(home):
    found = catalog(home)
    for engine in BUILT_IN:
        assert found.validate(found.entry(engine)) == []


def test_configured_paths_beat_the_users_files_beat_the_built_in(home, user, tmp_path):
    write(user, "codex.yaml", text("codex", "from-user"))
    assert catalog(home).adapter("codex").spec.command == "from-user"
    extra = write(tmp_path / "extra", "codex.yaml", text("codex", "from-config"))
    found = catalog(home, extra)
    assert found.adapter("codex").spec.command == "from-config"
    assert origins(found, "codex") == [
        ("config", "codex.yaml"),
        ("user", "codex.yaml"),
        ("built-in", "codex.yaml"),
    ]


def test_configured_paths_are_files_or_folders_in_their_order(home, tmp_path):
    one = write(tmp_path / "one", "acme.yaml", text("acme", "one"))
    write(tmp_path / "two", "acme.yaml", text("acme", "two"))
    write(tmp_path / "two", "other.yml", text("other"))
    assert catalog(home, tmp_path / "two", one).adapter("acme").spec.command == "two"
    found = catalog(home, one, tmp_path / "two")
    assert found.adapter("acme").spec.command == "one"
    assert found.entry("other").path.suffix == ".yml"
    assert found.problems == []


def test_a_path_that_is_given_twice_is_one_file(home, user):
    file = write(user, "acme.yaml", text("acme"))
    found = catalog(home, file, user)
    assert origins(found, "acme") == [("config", "acme.yaml")]
    assert found.problems == []


def test_paths_are_relative_to_the_configuration_file(home):
    write(home / ".takopi" / "mine", "acme.yaml", text("acme"))
    assert "acme" in catalog(home, "mine").ids


def test_a_missing_path_is_a_warning(home, tmp_path):
    found = catalog(home, tmp_path / "none")
    assert found.ids == BUILT_IN
    [problem] = found.problems
    assert problem.severity == "warning"
    assert str(tmp_path / "none") in problem.message


def test_a_folder_that_cannot_be_read_is_a_warning(home, tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied")

    folder = tmp_path / "closed"
    folder.mkdir()
    monkeypatch.setattr(Path, "iterdir", refuse)  # root may read every folder
    found = catalog(home, folder)
    assert found.problems[0].severity == "warning"
    assert "closed: Permission denied" in found.problems[0].message


def test_bad_paths_are_an_error_of_the_configuration(home):
    with pytest.raises(ConfigError, match=r"Invalid `adapters\.paths`"):
        load_catalog(Config(home / "takopi.toml", {"adapters": {"paths": 1}}))


def test_other_files_and_folders_are_passed_over(home, user):
    write(user, "notes.txt", "x")
    write(user / "folder.yaml", "acme.yaml", text("acme"))
    write(user, ".hidden.json", "x")
    assert catalog(home).ids == BUILT_IN


def test_no_folder_of_the_user(tmp_path):
    assert load_catalog(Config(tmp_path / "takopi.toml")).ids == BUILT_IN


def test_a_projects_own_folder_is_never_read(home, tmp_path):
    for folder in ("adapters", ".takopi/adapters"):
        write(tmp_path / "work" / folder, "evil.yaml", text("evil"))
    assert catalog(home).ids == BUILT_IN


def test_the_users_folder_lies_beside_the_configuration():
    assert user_folder(Config(Path("/x/takopi.toml"))) == Path("/x/adapters")


# Broken files


def test_a_broken_file_disables_only_its_own_engine(home, user):
    write(user, "codex.yaml", "adapter: 1\nid: [")
    found = catalog(home)
    with pytest.raises(SpecError) as error:
        found.adapter("codex")
    assert str(error.value) == "engine `codex` is broken: ~/.takopi/adapters/codex.yaml"
    assert [d.code for d in error.value.diagnostics] == ["syntax"]
    for engine in BUILT_IN:
        if engine != "codex":
            assert found.adapter(engine).id == engine


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"adapter: 1\nname: \xff\n", "the file is not UTF-8: invalid start byte at byte 17"),
        (text("other"), "the id `other` is not the file's name `acme`"),
        ("", "the file is empty"),
    ],
)
def test_files_that_cannot_be_used(home, user, content, message):
    write(user, "acme.yaml", content)
    found = catalog(home)
    assert [d.message for d in found.validate(found.entry("acme"))] == [message]
    with pytest.raises(SpecError):
        found.adapter("acme")


def test_an_unreadable_file(home, user):
    path = write(user, "acme.yaml", text("acme"))
    path.unlink()
    path.symlink_to(path)  # root may read anything but a loop
    assert not path.is_file()
    assert "acme" not in catalog(home).ids
    path.unlink()
    path.write_text(text("acme"))
    found = catalog(home)
    path.unlink()
    [problem] = found.validate(found.entry("acme"))
    assert problem.message == "cannot read the file: No such file or directory"
    assert problem.path == "~/.takopi/adapters/acme.yaml"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission(home, user):
    write(user, "acme.yaml", text("acme")).chmod(0)
    found = catalog(home)
    [problem] = found.validate(found.entry("acme"))
    assert problem.message == "cannot read the file: Permission denied"


def test_an_unknown_engine_is_answered_with_a_suggestion(home):
    with pytest.raises(TakopiError, match="unknown engine `codxe`; did you mean `codex`"):
        catalog(home).entry("codxe")
    with pytest.raises(TakopiError, match="unknown engine `weather`"):
        catalog(home).adapter("weather")


def test_two_files_of_one_folder_with_one_id(home, user):
    write(user, "acme.yaml", text("acme", "first"))
    write(user, "acme.yml", text("acme", "second"))
    found = catalog(home)
    assert found.adapter("acme").spec.command == "first"
    first, second = found.entries["acme"]
    assert found.validate(first) == []
    [problem] = found.validate(second)
    assert render_text(problem) == (
        "error[duplicate-id]: `acme.yaml` in the same folder has the same id\n"
        " --> ~/.takopi/adapters/acme.yml:2:5\n"
        "  |\n"
        "2 | id: acme\n"
        "  |     ^^^^ id\n"
        "  = help: delete or rename one of the two"
    )


@pytest.mark.parametrize("content", [b"\xff", "", "[", "x"])
def test_a_duplicate_that_cannot_be_read_is_one_all_the_same(home, user, content):
    write(user, "acme.yaml", text("acme"))
    write(user, "acme.yml", content)
    assert [d.code for d in catalog(home).problems] == ["duplicate-id"]


# Resume lines of two adapters


def test_an_overlap_is_an_error_of_the_one_with_lower_precedence(home, user, tmp_path):
    write(user, "aaa.yaml", text("aaa", line="same"))
    write(tmp_path / "extra", "zzz.yaml", text("zzz", line="same"))
    found = catalog(home, tmp_path / "extra")
    assert found.validate(found.entry("zzz")) == []
    [problem] = found.validate(found.entry("aaa"))
    assert (problem.code, problem.severity) == ("resume-overlap", "error")
    assert "`zzz`" in problem.message
    assert problem.span.line == 5
    assert found.adapter("zzz").id == "zzz"


def test_an_overlap_with_a_shadowed_adapter_does_not_count(home, user):
    write(user, "codex.yaml", text("codex", line="mine"))
    write(user, "acme.yaml", text("acme", line="codex"))
    found = catalog(home)
    assert found.validate(found.entry("acme")) == []


def test_an_overlap_of_a_wrapper_is_a_warning(home, user):
    write(
        user,
        "wrapper.yaml",
        "adapter: 1\nid: wrapper\nextends: codex\nresume: {line: 'codex resume ${token}'}\n",
    )
    found = catalog(home)
    assert found.validate(found.entry("wrapper")) == []
    [problem] = found.validate(found.entry("codex"))
    assert (problem.code, problem.severity) == ("resume-overlap", "warning")


# extends


def test_a_file_extends_an_adapter_of_any_source(home, user):
    write(
        user, "wrapper.yaml", "adapter: 1\nid: wrapper\nextends: demo\nresume: null\ncommand: w\n"
    )
    found = catalog(home)
    assert found.validate(found.entry("wrapper")) == []
    assert found.adapter("wrapper").spec.command == "w"
    assert found.adapter("wrapper").spec.args == found.adapter("demo").spec.args


SHADOW = "adapter: 1\nid: demo\nextends: demo\nresume: {line: 'takopi-demo resume ${token}'}\n"


def test_a_file_extends_the_one_it_shadows(home, user, tmp_path):
    write(user, "demo.yaml", SHADOW + "quiet: 5\n")
    write(tmp_path / "extra", "demo.yaml", SHADOW + "command: top\n")
    found = catalog(home, tmp_path / "extra")
    adapter = found.adapter("demo")
    assert (adapter.spec.command, adapter.spec.quiet) == ("top", 5)
    assert adapter.spec.args


def test_a_child_of_a_file_that_extends_what_it_shadows(home, user):
    write(user, "demo.yaml", SHADOW + "quiet: 5\n")
    write(user, "child.yaml", "adapter: 1\nid: child\nextends: demo\nresume: null\n")
    found = catalog(home)
    assert found.adapter("child").spec.quiet == 5


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"acme": "acme"}, "`extends` goes round in a circle: ~/{a}acme.yaml → ~/{a}acme.yaml"),
        (
            {"acme": "other", "other": "acme"},
            "`extends` goes round in a circle: ~/{a}acme.yaml → ~/{a}other.yaml → ~/{a}acme.yaml",
        ),
        ({"acme": "none"}, "there is no adapter `none` to extend"),
    ],
)
def test_extends_that_leads_nowhere(home, user, files, message):
    for engine, parent in files.items():
        write(user, f"{engine}.yaml", text(engine, extra=f"extends: {parent}\n"))
    found = catalog(home)
    [problem] = found.validate(found.entry("acme"))
    assert problem.message == message.replace("{a}", ".takopi/adapters/")


def test_a_parent_that_is_not_utf_8(home, user):
    write(user, "parent.yaml", b"\xff")
    write(user, "child.yaml", text("child", extra="extends: parent\n"))
    found = catalog(home)
    [problem] = found.validate(found.entry("child"))
    assert "`parent`, is broken: the file is not UTF-8" in problem.message


# Names


def test_a_file_named_on_the_command_line(home, tmp_path):
    path = write(tmp_path, "acme.yaml", text("acme"))
    entry = file_entry(path)
    assert (entry.id, entry.origin) == ("acme", "file")
    assert catalog(home).validate(entry) == []


def test_paths_are_shown_as_a_person_writes_them(home, tmp_path):
    assert display_path(tmp_path / "work" / "a.yaml") == "a.yaml"
    assert display_path(home / "a.yaml") == "~/a.yaml"
    assert display_path(Path("/etc/a.yaml")) == "/etc/a.yaml"


def test_each_file_is_compiled_once(home):
    found = catalog(home)
    assert found.adapter("demo") is found.adapter("demo")
