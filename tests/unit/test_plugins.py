"""Finding and loading plugins, and the protocols of transports and commands."""

import logging
import os
import sys
import threading
from importlib.metadata import EntryPoint
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from takopi import plugins
from takopi.bridge.commands import get_command, list_command_ids
from takopi.bridge.transport import (
    SetupResult,
    get_transport,
    interactive_setup,
    list_transports,
    lock_token,
    needs_config,
)
from takopi.engines.backend import SetupIssue, install_issue
from takopi.errors import ConfigError, PluginError, SpecError
from takopi.ids import RESERVED_COMMAND_IDS
from takopi.plugins import (
    ADAPTERS_GROUP,
    COMMAND_GROUP,
    ENGINE_GROUP,
    TRANSPORT_GROUP,
    LoadError,
    PluginLoadError,
    PluginNotFoundError,
    clear_load_errors,
    describe,
    entrypoint_distribution_name,
    get_load_errors,
    is_entrypoint_allowed,
    list_adapter_files,
    list_disabled,
    list_entrypoints,
    list_ids,
    load_entrypoint,
    normalize_allowlist,
    own_scripts,
    plugin_signature,
)
from tests.support.distributions import new_site

COMMAND = """
class Greet:
    id = "{id}"
    description = "says hello"
    async def handle(self, ctx):
        return None
BACKEND = Greet()
"""

TRANSPORT = """
class Pager:
    id = "{id}"
    description = "beeps"
    def check_setup(self, engine_backend, *, transport_override=None): ...
    async def interactive_setup(self, *, force): return force
    def lock_token(self, *, transport_config, _config_path): return "secret"
    def build_and_run(self, *, transport_config, config_path, runtime, final_notify, default_engine_override): ...
BACKEND = Pager()
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    yield from new_site(tmp_path, monkeypatch)


def command(site, distribution, engine, text=COMMAND, **more):
    """A distribution with one command plugin."""
    module = f"{engine}_plugin"
    points = {COMMAND_GROUP: {engine: f"{module}:BACKEND"}}
    site.install(distribution, points, modules={module: text.replace("{id}", engine)}, **more)


def errors():
    return [(e.group, e.name, e.distribution, e.error) for e in get_load_errors()]


# -- listing ---------------------------------------------------------------------------------------


def test_ids_are_listed_sorted_and_nothing_is_imported(site):
    command(site, "second", "zulu")
    command(site, "first", "alpha")
    assert list_ids(COMMAND_GROUP) == ["alpha", "zulu"]
    assert list_ids(ENGINE_GROUP) == []
    assert site.imports == []
    assert get_load_errors() == []


@pytest.mark.parametrize("name", ["bad-id", "Bad", "a" * 33, "é", "a.b"])
def test_an_invalid_id_is_not_listed_but_recorded(site, name):
    site.install("acme", {COMMAND_GROUP: {name: "m:BACKEND", "good": "m:BACKEND"}})
    assert list_ids(COMMAND_GROUP) == ["good"]
    text = f"invalid plugin id '{name}'; must match ^[a-z0-9_]{{1,32}}$"
    assert errors() == [(COMMAND_GROUP, name, "acme", text)]


def test_a_reserved_id_is_not_listed_but_recorded(site):
    site.install("acme", {COMMAND_GROUP: {"cancel": "m:BACKEND"}})
    assert list_ids(COMMAND_GROUP, reserved_ids=["CANCEL"]) == []
    text = "reserved plugin id 'cancel' is not allowed"
    assert errors() == [(COMMAND_GROUP, "cancel", "acme", text)]


def test_an_id_that_is_invalid_and_reserved_is_called_invalid(site):
    site.install("acme", {COMMAND_GROUP: {"CANCEL": "m:BACKEND"}})
    assert list_ids(COMMAND_GROUP, reserved_ids=["cancel"]) == []
    assert errors()[0][3].startswith("invalid plugin id 'CANCEL'")


def test_two_distributions_with_one_id_both_lose_it(site):
    command(site, "second", "dup")
    command(site, "first", "dup")
    command(site, "other", "fine")
    assert list_ids(COMMAND_GROUP) == ["fine"]
    text = "duplicate plugin id 'dup' from first, second"
    both = [(COMMAND_GROUP, "dup", name, text) for name in ("first", "second")]
    assert errors() == both
    clear_load_errors()
    with pytest.raises(PluginLoadError, match=f"^{text}$"):
        load_entrypoint(COMMAND_GROUP, "dup")
    assert errors() == both[:1]
    assert site.imports == []


def test_a_duplicate_without_a_name_is_called_unknown(site):
    command(site, "named", "dup")
    command(site, None, "dup", metadata=False)
    assert list_ids(COMMAND_GROUP) == []
    assert {e[3] for e in errors()} == {"duplicate plugin id 'dup' from <unknown>, named"}


def test_one_distribution_that_gives_an_id_twice_loses_it(site):
    site.install("acme", raw=f"[{COMMAND_GROUP}]\ndup = a:A\ndup = b:B\n")
    assert list_ids(COMMAND_GROUP) == []
    assert {e[3] for e in errors()} == {"duplicate plugin id 'dup' from acme"}


def test_one_id_in_two_groups_is_no_duplicate(site):
    points = {"same": "m:BACKEND"}
    site.install("acme", {COMMAND_GROUP: points, TRANSPORT_GROUP: points})
    assert list_ids(COMMAND_GROUP) == ["same"]
    assert "same" in list_ids(TRANSPORT_GROUP)


def test_a_duplicate_that_the_allowlist_hides_takes_nothing_away(site):
    command(site, "wanted", "dup")
    site.install("hidden", {COMMAND_GROUP: {"dup": "other:BACKEND"}})
    assert list_ids(COMMAND_GROUP, allowlist=["wanted"]) == ["dup"]
    assert load_entrypoint(COMMAND_GROUP, "dup", allowlist=["wanted"]).id == "dup"
    assert errors() == []


def test_errors_are_recorded_once_however_often_ids_are_listed(site):
    site.install("acme", {COMMAND_GROUP: {"bad-id": "m:BACKEND"}})
    for _ in range(3):
        list_ids(COMMAND_GROUP)
    assert len(get_load_errors()) == 1


def test_a_distribution_with_broken_entry_points_hides_nobody_else(site):
    site.install("broken", raw=f"[{COMMAND_GROUP}]\nno equals sign\n")
    site.install("binary", raw="x").joinpath("entry_points.txt").write_bytes(b"[takopi.\xff]")
    command(site, "fine", "greet")
    assert list_ids(COMMAND_GROUP) == ["greet"]
    [(group, name, distribution, text)] = errors()
    assert (group, name, distribution) == (COMMAND_GROUP, "broken", "broken")
    assert text.startswith("its entry points cannot be read: ")


def test_the_copy_of_a_distribution_that_imports_find_counts(site, tmp_path, monkeypatch):
    command(site, "acme", "old")
    front = tmp_path / "front"
    info = front / "Acme-2.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: Acme\nVersion: 2.0\n")
    monkeypatch.syspath_prepend(str(front))
    plugins.refresh()
    assert list_ids(COMMAND_GROUP) == []
    (info / "entry_points.txt").write_text(f"[{COMMAND_GROUP}]\nnew = m:BACKEND\n")
    plugins.refresh()
    assert list_ids(COMMAND_GROUP) == ["new"]


# -- the allowlist ---------------------------------------------------------------------------------


def test_the_allowlist_compares_canonical_names_of_distributions(site):
    command(site, "Acme_Greet.Plugin", "greet")
    command(site, "other", "wave")
    for name in ("acme-greet-plugin", " ACME.greet__plugin ", "Acme_Greet.Plugin"):
        assert list_ids(COMMAND_GROUP, allowlist=[name]) == ["greet"]
    assert list_ids(COMMAND_GROUP, allowlist=["greet"]) == []  # an id is no distribution
    for everything in (None, []):
        assert list_ids(COMMAND_GROUP, allowlist=everything) == ["greet", "wave"]
    assert list_disabled(COMMAND_GROUP, allowlist=["other"]) == [("greet", "Acme_Greet.Plugin")]
    assert list_disabled(COMMAND_GROUP, allowlist=None) == []


def test_allowlists_are_normalized():
    assert normalize_allowlist(None) is None
    assert normalize_allowlist([]) is None
    assert normalize_allowlist(["A_b", "a-B", " c..d "]) == {"a-b", "c-d"}


def test_a_list_hides_what_has_no_distribution(site):
    command(site, None, "greet", metadata=False)
    assert list_ids(COMMAND_GROUP) == ["greet"]
    assert list_ids(COMMAND_GROUP, allowlist=["nameless"]) == []
    [found] = list_entrypoints(COMMAND_GROUP)
    assert entrypoint_distribution_name(found) is None
    made_up = EntryPoint("x", "m:X", COMMAND_GROUP)
    assert is_entrypoint_allowed(made_up, None)
    assert not is_entrypoint_allowed(made_up, {"acme"})


def test_p2_the_built_in_distribution_is_always_allowed(site):
    command(site, "takopi", "builtin")
    command(site, "acme", "third")
    assert list_ids(COMMAND_GROUP, allowlist=["somebody-else"]) == ["builtin"]
    assert list_ids(COMMAND_GROUP, allowlist=["takopi"]) == ["builtin"]
    assert list_ids(COMMAND_GROUP, allowlist=["Takopi", "acme"]) == ["builtin", "third"]
    with pytest.raises(PluginNotFoundError):
        load_entrypoint(COMMAND_GROUP, "third", allowlist=["takopi"])


def test_what_is_disabled_gives_no_errors(site):
    site.install("acme", {COMMAND_GROUP: {"bad-id": "m:BACKEND"}})
    assert list_ids(COMMAND_GROUP, allowlist=["other"]) == []
    assert errors() == []


# -- loading ---------------------------------------------------------------------------------------


def test_a_plugin_is_imported_once(site):
    command(site, "acme", "greet")
    first = load_entrypoint(COMMAND_GROUP, "greet")
    plugins.refresh()
    assert load_entrypoint(COMMAND_GROUP, "greet") is first
    assert site.imports == ["greet_plugin"]


def test_threads_that_ask_together_get_one_object(site):
    command(site, "acme", "greet", "import time; time.sleep(0.05)\n" + COMMAND + "made = object()")
    found = []

    def ask():
        found.append(load_entrypoint(COMMAND_GROUP, "greet"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(map(id, found))) == 1
    assert site.imports == ["greet_plugin"]


def test_a_plugin_may_ask_for_others_while_it_is_imported(site):
    command(site, "acme", "inner")
    text = (
        "from takopi.plugins import COMMAND_GROUP, list_ids, load_entrypoint\n"
        "IDS = list_ids(COMMAND_GROUP)\nINNER = load_entrypoint(COMMAND_GROUP, 'inner')\n"
    )
    command(site, "outer", "outer", text + COMMAND)
    load_entrypoint(COMMAND_GROUP, "outer")
    assert sys.modules["outer_plugin"].IDS == ["inner", "outer"]
    assert sys.modules["outer_plugin"].INNER is load_entrypoint(COMMAND_GROUP, "inner")


def test_an_unknown_id_is_not_found(site):
    with pytest.raises(PluginNotFoundError, match="no command plugin 'nobody'"):
        load_entrypoint(COMMAND_GROUP, "nobody")
    assert errors() == []


def test_a_plugin_that_raises_is_a_failure_with_a_record(site):
    command(site, "acme", "broken", "raise RuntimeError('boom')")
    with pytest.raises(PluginLoadError, match="boom") as failure:
        load_entrypoint(COMMAND_GROUP, "broken")
    record = failure.value.record
    assert record == get_load_errors()[0]
    assert record.value == "broken_plugin:BACKEND"
    assert record.error == "RuntimeError: boom"
    assert isinstance(failure.value.__cause__, RuntimeError)


def test_p3_a_failure_keeps_the_type_and_the_traceback(site, caplog):
    command(site, "acme", "broken", "def deep():\n    return {}['key']\ndeep()")
    with caplog.at_level(logging.DEBUG, "takopi.plugins"), pytest.raises(PluginLoadError):
        load_entrypoint(COMMAND_GROUP, "broken")
    [record] = get_load_errors()
    assert record.error == "KeyError: 'key'"
    assert record.exception == "KeyError"
    assert "in deep" in record.traceback
    assert "in deep" in caplog.text


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import sys; sys.exit()", "SystemExit"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("class Odd(BaseException): pass\nraise Odd('odd')", "Odd: odd"),
        ("def f(:", "SyntaxError: "),
        ("import takopi_nothing_like_that", "ModuleNotFoundError: No module named"),
        ("", "AttributeError: module 'broken_plugin' has no attribute 'BACKEND'"),
    ],
)
def test_p3_whatever_an_import_does_is_contained(site, text, error):
    command(site, "acme", "broken", text)
    with pytest.raises(PluginLoadError):
        load_entrypoint(COMMAND_GROUP, "broken")
    assert get_load_errors()[0].error.startswith(error)


def test_ctrl_c_during_an_import_is_not_swallowed(site):
    command(site, "acme", "slow", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_entrypoint(COMMAND_GROUP, "slow")
    assert errors() == []


@pytest.mark.parametrize("value", ["", "no:", "not a value", "a:b:c"])
def test_a_value_that_is_no_reference_is_a_failure(site, value):
    site.install("acme", raw=f"[{COMMAND_GROUP}]\nodd = {value}\n")
    with pytest.raises((PluginLoadError, PluginNotFoundError)):
        load_entrypoint(COMMAND_GROUP, "odd")
    list_ids(COMMAND_GROUP)
    assert len(errors()) == 1


def test_success_clears_earlier_errors_of_the_id(site):
    command(site, "acme", "later", "raise RuntimeError('boom')")
    site.install("bad", {COMMAND_GROUP: {"bad-id": "m:BACKEND"}})
    list_ids(COMMAND_GROUP)
    with pytest.raises(PluginLoadError):
        load_entrypoint(COMMAND_GROUP, "later")
    assert len(errors()) == 2
    site.module("later_plugin", COMMAND.replace("{id}", "later") + "# repaired")
    assert load_entrypoint(COMMAND_GROUP, "later").id == "later"
    assert [e[1] for e in errors()] == ["bad-id"]


def test_errors_are_cleared_by_group_and_name(site):
    for group in (COMMAND_GROUP, TRANSPORT_GROUP):
        site.install(group.split(".")[1], {group: {"x-1": "m:B", "x-2": "m:B"}})
        list_ids(group)
    list_ids(COMMAND_GROUP)
    assert len(errors()) == 4
    clear_load_errors(group=COMMAND_GROUP, name="x-1")
    assert len(errors()) == 3
    clear_load_errors(name="x-2")
    assert [(e[0], e[1]) for e in errors()] == [(TRANSPORT_GROUP, "x-1")]
    clear_load_errors()
    assert errors() == []


def test_the_same_failure_is_one_record():
    first = LoadError(COMMAND_GROUP, "x", "m:B", None, "boom", "RuntimeError", "line 1")
    assert first == LoadError(COMMAND_GROUP, "x", "m:B", None, "boom", "RuntimeError", "line 2")


def test_exceptions_are_described_with_their_type_unless_they_are_takopis_own():
    assert describe(ConfigError("bad value")) == "bad value"
    assert describe(SpecError("")) == "SpecError"
    assert describe(ValueError("bad value")) == "ValueError: bad value"
    assert describe(ValueError()) == "ValueError"


# -- metadata --------------------------------------------------------------------------------------


def test_p3_metadata_is_read_once_until_it_is_refreshed(site):
    assert list_ids(COMMAND_GROUP) == []
    info = site.folder / "late-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: late\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{COMMAND_GROUP}]\nlate = m:B\nbad-id = m:B\n")
    assert list_ids(COMMAND_GROUP) == []
    plugins.refresh()
    assert list_ids(COMMAND_GROUP) == ["late"]
    assert len(errors()) == 1
    (info / "entry_points.txt").unlink()
    plugins.refresh()
    assert list_ids(COMMAND_GROUP) == []
    assert errors() == []


def test_the_signature_changes_with_what_is_installed(site, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path / "missing"))
    before = plugin_signature()
    assert before == plugin_signature()
    site.folder.joinpath("module.py").write_text("")
    assert before == plugin_signature()
    info = site.install("acme")
    after = plugin_signature()
    assert {(str(info), info.stat().st_mtime_ns)} == after - before
    os.utime(info, ns=(1, 1))
    assert plugin_signature() not in (before, after)
    for file in info.iterdir():
        file.unlink()
    info.rmdir()
    assert plugin_signature() == before


def test_takopis_own_programs_are_known():
    assert {"takopi", "takopi-demo"} <= own_scripts()


# -- packages of adapters --------------------------------------------------------------------------


def test_adapter_packages_are_found_without_importing_them(site):
    site.package("acme_pack", {"__init__.py": ""})
    site.package("acme_pack/engines", {"b.yaml": "", "a.yml": "", ".c.yaml": "", "d.txt": ""})
    site.install("acme-pack", {ADAPTERS_GROUP: {"acme": "acme_pack.engines"}})
    assert [(f.id, f.path.name, f.package, f.distribution) for f in list_adapter_files()] == [
        ("a", "a.yml", "acme_pack.engines", "acme-pack"),
        ("b", "b.yaml", "acme_pack.engines", "acme-pack"),
    ]
    assert site.imports == []
    assert "acme_pack" not in sys.modules
    assert list_adapter_files(allowlist=["other"]) == []


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("no_such_package", "there is no package 'no_such_package'"),
        ("plain", "the package 'plain' holds no adapters (*.yaml)"),
        ("empty_pack", "the package 'empty_pack' holds no adapters (*.yaml)"),
        ("empty_pack.none", "the package 'empty_pack.none' holds no adapters (*.yaml)"),
        ("empty_pack:data", "'empty_pack:data' is not the name of a package"),
        ("a/../b", "'a/../b' is not the name of a package"),
    ],
)
def test_adapter_packages_that_hold_nothing_are_recorded(site, value, error):
    site.module("plain", "")
    site.package("empty_pack", {"__init__.py": ""})
    site.install("acme", {ADAPTERS_GROUP: {"acme": value}})
    assert list_adapter_files() == []
    assert errors() == [(ADAPTERS_GROUP, "acme", "acme", error)]
    assert site.imports == []


def test_files_of_packages_obey_the_rules_for_ids(site):
    site.package("pack", {"Bad Name.yaml": "", "init.yaml": "", "fine.yaml": ""})
    site.install("acme", {ADAPTERS_GROUP: {"acme": "pack"}})
    assert [f.id for f in list_adapter_files(reserved_ids=["init"])] == ["fine"]
    assert sorted(e[1] for e in errors()) == ["Bad Name", "init"]


def test_a_package_and_an_engine_plugin_with_one_id_are_duplicates(site):
    site.package("pack", {"acme.yaml": "", "solo.yaml": ""})
    site.install("yaml-dist", {ADAPTERS_GROUP: {"pack": "pack"}})
    site.install("code-dist", {ENGINE_GROUP: {"acme": "m:BACKEND"}, COMMAND_GROUP: {"solo": "m:B"}})
    assert list_ids(ENGINE_GROUP) == []
    assert [f.id for f in list_adapter_files()] == ["solo"]
    assert list_ids(COMMAND_GROUP) == ["solo"]
    text = "duplicate plugin id 'acme' from code-dist, yaml-dist"
    assert {(e[0], e[3]) for e in errors()} == {(ENGINE_GROUP, text), (ADAPTERS_GROUP, text)}
    with pytest.raises(PluginLoadError, match="duplicate"):
        load_entrypoint(ENGINE_GROUP, "acme")


# -- commands --------------------------------------------------------------------------------------


def test_commands_are_listed_and_got(site):
    command(site, "acme", "greet")
    site.install("bad", {COMMAND_GROUP: {"cancel": "m:B"}})
    assert list_command_ids() == ["greet"]
    assert get_command("greet").description == "says hello"
    assert get_command("nobody", required=False) is None
    with pytest.raises(ConfigError, match=r"^Unknown command 'nobody'. Available: greet.$"):
        get_command("nobody")


def test_an_unknown_command_where_there_is_none(site):
    with pytest.raises(ConfigError, match=r"^Unknown command 'nobody'.$"):
        get_command("nobody")


@pytest.mark.parametrize("name", [*sorted(RESERVED_COMMAND_IDS), "CANCEL"])
def test_a_reserved_command_is_refused(site, name):
    for required in (True, False):
        with pytest.raises(ConfigError, match=f"^Command id '{name}' is reserved.$"):
            get_command(name, required=required)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("BACKEND = 3", "greet_plugin:BACKEND is not a CommandBackend"),
        (
            COMMAND.replace('id = "{id}"', "name = 1"),
            "greet_plugin:BACKEND is not a CommandBackend",
        ),
        (
            COMMAND.replace("{id}", "wave"),
            "greet_plugin:BACKEND command id 'wave' does not match entrypoint 'greet'",
        ),
        ("raise RuntimeError('boom')", "RuntimeError: boom"),
    ],
)
def test_a_command_that_is_none_fails_to_load(site, text, error):
    command(site, "acme", "greet", text)
    for required in (True, False):
        with pytest.raises(ConfigError) as failure:
            get_command("greet", required=required)
        assert str(failure.value) == f"Failed to load command 'greet': {error}"
    assert errors() == [(COMMAND_GROUP, "greet", "acme", error)]


def test_a_command_may_subclass_the_protocol(site):
    text = "from takopi.bridge.commands import CommandBackend\n" + COMMAND
    command(site, "acme", "greet", text.replace("class Greet:", "class Greet(CommandBackend):"))
    assert get_command("greet").id == "greet"


# -- transports ------------------------------------------------------------------------------------


def transport(site, text=TRANSPORT):
    modules = {"pager": text.replace("{id}", "pager")}
    site.install("acme", {TRANSPORT_GROUP: {"pager": "pager:BACKEND"}}, modules=modules)


def test_transports_are_listed_and_got(site):
    transport(site)
    assert "pager" in list_transports()
    assert site.imports == []
    assert get_transport("pager").description == "beeps"
    with pytest.raises(ConfigError, match=r"^Unknown transport 'nobody'. Available: .*pager"):
        get_transport("nobody")
    with pytest.raises(ConfigError, match=r"^Unknown transport 'pager'."):
        get_transport("pager", allowlist=["other"])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            TRANSPORT.replace("def build_and_run", "def run"),
            "pager:BACKEND is not a TransportBackend",
        ),
        (
            TRANSPORT.replace("{id}", "beeper"),
            "pager:BACKEND transport id 'beeper' does not match entrypoint 'pager'",
        ),
    ],
)
def test_a_transport_that_is_none_fails_to_load(site, text, error):
    transport(site, text)
    with pytest.raises(ConfigError) as failure:
        get_transport("pager")
    assert str(failure.value) == f"Failed to load transport 'pager': {error}"


def test_a_transport_may_subclass_the_protocol(site):
    text = "from takopi.bridge.transport import TransportBackend\n" + TRANSPORT
    transport(site, text.replace("class Pager:", "class Pager(TransportBackend):"))
    assert get_transport("pager").id == "pager"


class Published:
    def lock_token(self, *, transport_config, config_path):
        return f"published {config_path}"

    def interactive_setup(self, *, force):
        return anyio.run(anyio.sleep, 0) is None and force


class Real:
    def lock_token(self, *, transport_config, _config_path):
        return f"real {_config_path}"

    async def interactive_setup(self, *, force):
        await anyio.lowlevel.checkpoint()
        return force


class Both:
    def lock_token(self, *, transport_config, _config_path=None, config_path=None):
        return f"both {_config_path} {config_path}"


class Anything:
    def lock_token(self, **given):
        return " ".join(sorted(given))


class PublishedAndAnything:
    def lock_token(self, *, config_path=None, **given):
        return f"{config_path} {given['_config_path']}"


class Neither:
    def lock_token(self, *, transport_config):
        return transport_config["token"]


@pytest.mark.parametrize(
    ("backend", "token"),
    [
        (Published(), "published p"),
        (Real(), "real p"),
        (Both(), "both p None"),
        (Anything(), "_config_path transport_config"),
        (PublishedAndAnything(), "None p"),
        (Neither(), "t"),
    ],
)
def test_p10_the_configurations_path_goes_to_the_keyword_a_transport_accepts(backend, token):
    found = lock_token(backend, transport_config={"token": "t"}, config_path=Path("p"))
    assert found == token


@pytest.mark.parametrize("backend", [Published(), Real()])
@pytest.mark.parametrize("force", [True, False])
def test_p10_set_up_may_be_a_function_or_a_coroutine(backend, force):
    assert interactive_setup(backend, force=force) is force


def test_p4_any_transport_can_say_that_it_needs_configuration():
    assert needs_config(SetupIssue("create a config", ()), "slack")
    assert needs_config(SetupIssue("configure slack", ()), "slack")
    assert needs_config(SetupIssue("say hello", (), needs_config=True), "slack")
    assert not needs_config(SetupIssue("configure telegram", ()), "slack")
    assert not needs_config(install_issue("acme", None), "slack")


def test_a_setup_result_is_ok_without_issues():
    assert SetupResult([], Path("x")).ok
    assert not SetupResult([install_issue("acme", None)], Path("x")).ok


def test_an_install_issue_shows_the_command_as_it_is_typed():
    from rich.text import Text

    found = install_issue("acme", "pip install acme[all] --index=[x]")
    assert found.title == "install acme"
    [line] = found.lines
    assert Text.from_markup(line).plain == "   $ pip install acme[all] --index=[x]"
    [line] = install_issue("acme", None).lines
    assert "documentation" in Text.from_markup(line).plain
    assert isinstance(PluginError("x"), RuntimeError)
