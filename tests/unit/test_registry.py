"""All engines, in YAML and in Python: who wins an id, what state each is in, the default one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from takopi.adapters.catalog import load_catalog
from takopi.bundled import bundled
from takopi.config import load_config
from takopi.engines.backend import EngineBackend
from takopi.engines.jsonl import AdapterRunner
from takopi.engines.registry import (
    build_entries,
    default_engine_id,
    engine_entry,
    get_backend,
    list_backend_ids,
    list_backends,
    load_engines,
    load_registry,
)
from takopi.errors import ConfigError
from takopi.model import ResumeToken
from takopi.plugins import ADAPTERS_GROUP, ENGINE_GROUP, get_load_errors
from tests.support.distributions import new_site

ADAPTER = """
adapter: 1
id: {id}
command: {command}
install: get {command}
args: [run, "${{run().prompt}}", "${{options().extra_args}}"]
options:
  profile: {{type: string, description: "who to be", choices: [me, you]}}
env: {{set: {{PROFILE: "${{options().profile}}"}}}}
resume: {{line: "{id} resume ${{token}}"}}
session: {{id: id}}
events:
  - match: {{type: done}}
    complete: {{answer: text}}
"""

PLUGIN = """
from takopi.engines.backend import EngineBackend

class Runner:
    engine = "{id}"
    def __init__(self, config, path):
        self.config, self.path = config, path
    def run(self, prompt, resume): ...
    def format_resume(self, token): return token.value
    def is_resume_line(self, line): return False
    def extract_resume(self, text): return None

def build(config, path):
    {check}
    return Runner(config, path)

BACKEND = EngineBackend(id="{id}", build_runner=build, cli_cmd="{command}", install_cmd="get it")
"""
BUILT_IN = ["alpha", "zulu"]


@pytest.fixture
def site(tmp_path, monkeypatch):
    yield from new_site(tmp_path, monkeypatch)


class Home:
    """A home with a configuration, adapters of the user and a folder on PATH."""

    def __init__(self, folder):
        self.folder = folder
        self.path = folder / ".takopi" / "takopi.toml"

    def config(self, text=""):
        self.path.write_text(text)
        return load_config(self.path)

    def adapter(self, engine, text=ADAPTER, command=None, folder=".takopi/adapters"):
        file = self.folder / folder / f"{engine}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.format(id=engine, command=command or engine))
        return file

    def program(self, *names):
        for name in names:
            file = self.folder / "bin" / name
            file.write_text("#!/bin/sh\n")
            file.chmod(0o755)


@pytest.fixture
def home(tmp_path, monkeypatch, site):
    """Two built-in engines, `alpha` and `zulu`; of nothing the program is installed."""
    folder = tmp_path / "home"
    for name in (".takopi", "bin", "work"):
        (folder / name).mkdir(parents=True)
    found = Home(folder)
    for engine in BUILT_IN:
        found.adapter(engine, folder="built-in")
    monkeypatch.setattr("takopi.adapters.catalog.bundled", lambda kind: folder / "built-in")
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("PATH", str(folder / "bin"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.chdir(folder / "work")
    return found


def plugin(site, engine, *, check="pass", command=None, distribution=None, text=PLUGIN):
    module = f"{engine}_engine"
    text = text.replace("{id}", engine).replace("{command}", command or engine)
    site.install(
        distribution or f"{engine}-dist",
        {ENGINE_GROUP: {engine: f"{module}:BACKEND"}},
        modules={module: text.replace("{check}", check)},
    )


def package(site, home, *engines, distribution="pack-dist"):
    for engine in engines:
        home.adapter(engine, folder=f"{site.folder}/pack")
    site.install(distribution, {ADAPTERS_GROUP: {"pack": "pack"}})


def origins(registry, engine):
    return [(source.origin, source.shown) for source in registry.sources[engine]]


def statuses(engines):
    return {e.engine: (e.status, e.issue) for e in engines.entries}


# -- which engines there are -----------------------------------------------------------------------


def test_engines_of_every_kind_are_one_sorted_list(home, site):
    home.adapter("mine")
    home.adapter("extra", folder="more")
    plugin(site, "coded")
    package(site, home, "packed")
    config = home.config('[adapters]\npaths = ["../more"]')
    registry = load_registry(config)
    assert registry.ids == ["alpha", "coded", "extra", "mine", "packed", "zulu"]
    assert site.imports == []
    assert {engine: origins(registry, engine)[0][0] for engine in registry.ids} == {
        "alpha": "built-in",
        "coded": "plugin",
        "extra": "config",
        "mine": "user",
        "packed": "package",
        "zulu": "built-in",
    }


def test_a_users_file_beats_a_plugin_beats_the_built_in(home, site):
    plugin(site, "alpha")
    package(site, home, "zulu")
    registry = load_registry(home.config())
    assert origins(registry, "alpha") == [("plugin", "alpha-dist"), ("built-in", "takopi")]
    assert origins(registry, "zulu") == [("package", "pack-dist"), ("built-in", "takopi")]
    assert registry.backend("alpha").install_cmd == "get it"
    for engine in BUILT_IN:
        home.adapter(engine, command="own")
    home.adapter("alpha", folder="more", command="configured")
    registry = load_registry(home.config('[adapters]\npaths = ["../more"]'))
    assert origins(registry, "alpha") == [
        ("config", "config ~/.takopi/../more/alpha.yaml"),
        ("user", "user ~/.takopi/adapters/alpha.yaml"),
        ("plugin", "alpha-dist"),
        ("built-in", "takopi"),
    ]
    assert registry.backend("alpha").cli_cmd == "configured"
    assert registry.backend("zulu").cli_cmd == "own"


def test_two_plugins_with_one_id_leave_it_to_the_built_in(home, site):
    plugin(site, "alpha")
    plugin(site, "fresh")
    package(site, home, "alpha", "fresh")
    registry = load_registry(home.config())
    assert registry.ids == BUILT_IN
    assert origins(registry, "alpha") == [("built-in", "takopi")]
    assert {e.error for e in get_load_errors()} == {
        "duplicate plugin id 'alpha' from alpha-dist, pack-dist",
        "duplicate plugin id 'fresh' from fresh-dist, pack-dist",
    }
    with pytest.raises(ConfigError, match="Unknown engine 'fresh'"):
        registry.backend("fresh")


def test_the_allowlist_governs_plugins_and_packages(home, site):
    plugin(site, "coded")
    package(site, home, "packed")
    home.adapter("mine")
    config = home.config('[plugins]\nenabled = ["Pack_Dist"]')
    assert load_registry(config).ids == ["alpha", "mine", "packed", "zulu"]
    assert "packed" in load_catalog(config).ids
    config = home.config('[plugins]\nenabled = ["coded-dist"]')
    assert load_registry(config).ids == ["alpha", "coded", "mine", "zulu"]
    assert "packed" not in load_catalog(config).ids
    assert load_registry(config, allowlist=["pack-dist"]).ids == ["alpha", "mine", "packed", "zulu"]
    assert list_backend_ids() == ["alpha", "coded", "mine", "zulu"]
    assert list_backend_ids(allowlist=["takopi"]) == ["alpha", "mine", "zulu"]


def test_p2_an_allowlist_never_hides_the_built_in_engines(home):
    config = home.config('[plugins]\nenabled = ["takopi-slack"]')
    assert load_registry(config).ids == BUILT_IN


@pytest.mark.parametrize(
    "text", ["plugins = 1", "[plugins]\nenabled = 'x'", "[plugins]\nenabled = [' ']"]
)
def test_a_bad_allowlist_enables_nothing_by_mistake(home, text):
    with pytest.raises(ConfigError, match=r"^Invalid `plugins"):
        load_registry(home.config(text))


@pytest.mark.parametrize("name", ["init", "config", "run", "Big", "a-b"])
def test_what_cannot_be_an_id_is_no_engine(home, site, name):
    home.adapter(name)
    site.install("bad", {ENGINE_GROUP: {name: "m:BACKEND"}})
    registry = load_registry(home.config())
    assert registry.ids == BUILT_IN
    assert [e.name for e in get_load_errors()] == [name]


def test_a_reserved_id_is_refused_by_name(home):
    for name in ("init", "PLUGINS"):
        with pytest.raises(ConfigError, match=f"^Engine id '{name}' is reserved.$"):
            get_backend(name)


def test_an_unknown_engine_is_told_what_there_is(home):
    with pytest.raises(ConfigError, match=r"^Unknown engine 'beta'. Available: alpha, zulu.$"):
        get_backend("beta")


# -- backends --------------------------------------------------------------------------------------


def test_backends_of_adapters_and_plugins_look_the_same(home, site):
    plugin(site, "coded")
    found = {backend.id: backend for backend in list_backends()}
    assert sorted(found) == ["alpha", "coded", "zulu"]
    for engine, backend in found.items():
        assert type(backend) is EngineBackend
        assert backend.cli_cmd == engine
        runner = backend.build_runner({}, home.path)
        assert runner.engine == engine
        assert runner.format_resume(ResumeToken(engine, "t1"))
    assert found["alpha"].install_cmd == "get alpha"


def test_the_builder_of_an_adapter_checks_the_table_it_is_given(home):
    backend = get_backend("alpha")
    runner = backend.build_runner({"profile": "me", "timeout": 5}, home.path)
    assert runner.options.values["profile"] == "me"
    assert runner.options.timeout_s == 5
    with pytest.raises(ConfigError, match=r"^Invalid `alpha\.profile` in .*; expected one of"):
        backend.build_runner({"profile": "nobody"}, home.path)


def test_a_backend_knows_the_program_that_is_configured(home):
    home.config('[alpha]\ncommand = "other"')
    assert get_backend("alpha").cli_cmd == "other"
    home.config("[alpha]\ncommand = 1")
    assert get_backend("alpha").cli_cmd == "alpha"


def test_a_backend_knows_the_program_that_an_expression_says(home, monkeypatch):
    home.adapter("mine", command="\"${env('MINE') || 'fallback'}\"")
    assert get_backend("mine").cli_cmd == "fallback"
    monkeypatch.setenv("MINE", "elsewhere")
    assert get_backend("mine").cli_cmd == "elsewhere"


def test_list_backends_skips_what_is_broken(home, site):
    home.adapter("alpha", "adapter: 1\nid: [")
    plugin(site, "coded", text="raise RuntimeError('boom')")
    assert [backend.id for backend in list_backends()] == ["zulu"]
    home.adapter("zulu", "x")
    with pytest.raises(ConfigError, match=r"^No engine backends are available\.$"):
        list_backends()


def test_a_broken_file_fails_to_load_with_its_diagnostics(home):
    home.adapter("alpha", ADAPTER + "unknown: 1\nworse: 1\n")
    with pytest.raises(ConfigError) as failure:
        get_backend("alpha")
    assert str(failure.value) == (
        "Failed to load engine 'alpha': ~/.takopi/adapters/alpha.yaml:15: unknown key `unknown`; "
        "for all 2: `takopi adapters validate alpha`"
    )
    assert [d.code for d in failure.value.diagnostics] == ["unknown-key", "unknown-key"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("BACKEND = object()", "coded_engine:BACKEND is not an EngineBackend"),
        (
            PLUGIN.replace('id="{id}"', 'id="wrong"'),
            "coded_engine:BACKEND engine id 'wrong' does not match entrypoint 'coded'",
        ),
        ("raise RuntimeError('boom')", "RuntimeError: boom"),
        ("raise SystemExit(2)", "SystemExit: 2"),
    ],
)
def test_a_plugin_that_is_no_engine_fails_to_load(home, site, text, error):
    plugin(site, "coded", text=text)
    with pytest.raises(ConfigError) as failure:
        get_backend("coded")
    assert str(failure.value) == f"Failed to load engine 'coded': {error}"
    assert [e.error for e in get_load_errors()] == [error]


def test_something_that_only_looks_like_a_backend_is_none(home, site):
    text = "class Fake:\n    id = 'coded'\n    build_runner = cli_cmd = install_cmd = None\n"
    plugin(site, "coded", text=text + "BACKEND = Fake()")
    with pytest.raises(ConfigError, match="is not an EngineBackend"):
        get_backend("coded")


# -- states ----------------------------------------------------------------------------------------


def test_every_state_with_its_reason(home, site):
    home.program("alpha", "strict", "picky", "coded")
    home.adapter("mine", command="nowhere")
    home.adapter("broken", "adapter: 1\nid: [")
    plugin(site, "coded")
    plugin(site, "picky", check="if config: raise ValueError('no ' + config['mode'])")
    plugin(site, "strict", check="raise KeyError('always')")
    plugin(site, "import_error", text="import takopi_nothing_like_that")
    config = home.config(
        'default_engine = "alpha"\nbogus = 1\n[zulu]\nprofile = "nobody"\n[picky]\nmode = "fast"\n'
    )
    engines = load_engines(config)
    assert engines.default == "alpha"
    found = statuses(engines)
    assert list(found) == sorted(found)
    assert {name: status for name, (status, _) in found.items()} == {
        "alpha": "ok",
        "broken": "load_error",
        "coded": "ok",
        "import_error": "load_error",
        "mine": "missing_cli",
        "picky": "bad_config",
        "strict": "load_error",
        "zulu": "missing_cli",
    }
    assert found["alpha"][1] is None
    assert found["broken"][1].startswith("~/.takopi/adapters/broken.yaml:2: ")
    assert found["import_error"][1].startswith("ModuleNotFoundError: ")
    assert found["mine"][1] == "nowhere not found on PATH"
    assert found["picky"][1] == "ValueError: no fast"
    assert found["strict"][1] == "KeyError: 'always'"
    assert found["zulu"][1] == (
        f"Invalid `zulu.profile` in {home.path}; expected one of `me`, `you`.; zulu not found on PATH"
    )
    assert engines.entry("picky").runner.config == {}
    assert engines.entry("picky").runner.path == home.path
    assert isinstance(engines.entry("zulu").runner, AdapterRunner)
    assert engines.entry("coded").executable == str(home.folder / "bin" / "coded")
    assert engines.entry("nobody") is None


def test_s17_p11_an_engine_that_cannot_be_used_stays_listed_with_its_issue(home, site):
    home.program("alpha")
    home.adapter("broken", "x")
    plugin(site, "strict", check="raise ConfigError('never')")
    registry = load_registry(home.config())
    entries = {e.engine: e for e in load_engines(registry.config, registry=registry).entries}
    assert [entry.status for entry in build_entries(registry)] == [
        entry.status for entry in entries.values()
    ]
    for engine in ("broken", "strict"):
        assert entries[engine].status == "load_error"
        assert entries[engine].runner is None
        assert entries[engine].issue
    assert entries["strict"].issue == "NameError: name 'ConfigError' is not defined"


def test_warnings_name_what_somebody_should_know(home, site):
    home.program("alpha")
    home.adapter("mine")
    home.adapter("broken", "x")
    engines = load_engines(home.config())
    assert [line.partition(":")[0] for line in engines.warnings] == ["broken", "mine"]
    assert engines.warnings[1] == "mine: mine not found on PATH"
    engines = load_engines(home.config('[zulu]\nprofile = "me"'))
    assert "zulu: zulu not found on PATH" in engines.warnings


def test_a_table_that_is_none(home):
    home.program("alpha", "zulu")
    engines = load_engines(home.config('zulu = "x"\ndefault_engine = "alpha"'))
    assert statuses(engines)["zulu"] == (
        "bad_config",
        f"Invalid `zulu` config in {home.path}; expected a table.",
    )


def test_a_builder_that_gives_no_runner_is_an_error(home, site):
    home.program("alpha", "coded")
    plugin(site, "coded", check="return None")
    engines = load_engines(home.config())
    issue = "build_runner gave NoneType, which cannot run"
    assert statuses(engines)["coded"] == ("load_error", issue)


def test_a_builder_that_exits_is_contained(home, site):
    home.program("alpha", "coded")
    plugin(site, "coded", check="raise SystemExit(1)")
    assert statuses(load_engines(home.config()))["coded"] == ("load_error", "SystemExit: 1")


def test_ctrl_c_in_a_builder_is_not_swallowed(home, site):
    home.program("alpha")
    plugin(site, "coded", check="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_engines(home.config())


def test_a_builder_cannot_change_the_configuration(home, site):
    home.program("alpha", "coded")
    plugin(site, "coded", check="config['deep']['x'] = 2")
    config = home.config("[coded.deep]\nx = 1")
    load_engines(config)
    assert config.engine_table("coded") == {"deep": {"x": 1}}


def test_issues_hold_no_secrets(home, site):
    home.program("alpha", "coded")
    check = "if config: raise ValueError(config['api_key'] + config['env']['X_TOKEN'])"
    plugin(site, "coded", check=check)
    text = '[coded]\napi_key = "hunter2-hunter2"\nenv = {X_TOKEN = "swordfish-1"}'
    assert statuses(load_engines(home.config(text)))["coded"][1] == "ValueError: ******"


def test_the_program_is_looked_up_as_a_run_does(home):
    home.program("alpha", "other")
    (home.folder / "own").mkdir()
    (home.folder / "bin" / "other").rename(home.folder / "own" / "zulu")
    text = f'[zulu]\nenv = {{PATH = "{home.folder / "own"}"}}\n[alpha]\ncommand = "none"\n'
    engines = load_engines(home.config(text))
    assert engines.default == "zulu"
    assert engines.entry("zulu").executable == str(home.folder / "own" / "zulu")
    assert engines.entry("alpha").issue == "none not found on PATH"


def test_an_option_that_no_command_line_can_carry_is_left_to_the_run(home):
    home.program("alpha")
    engines = load_engines(home.config('[alpha]\nextra_args = ["\\u0000"]'))
    assert statuses(engines)["alpha"] == ("ok", None)


# -- the default engine ----------------------------------------------------------------------------


def test_the_default_engine_is_the_override_else_the_setting(home):
    home.program("alpha", "zulu")
    config = home.config('default_engine = "zulu"')
    assert load_engines(config).default == "zulu"
    assert load_engines(config, default_engine="alpha").default == "alpha"
    registry = load_registry(config)
    assert default_engine_id(registry) == "zulu"
    assert default_engine_id(registry, "alpha") == "alpha"


def test_an_unknown_default_engine_is_told_what_there_is(home):
    text = "^Unknown default engine 'beta'. Available: alpha, zulu.$"
    with pytest.raises(ConfigError, match=text):
        load_engines(home.config('default_engine = "beta"'))
    with pytest.raises(ConfigError, match=text):
        default_engine_id(load_registry(home.config()), "beta")


def test_without_a_setting_the_first_installed_engine_is_the_default(home, site):
    home.program("zulu")
    assert load_engines(home.config()).default == "zulu"
    plugin(site, "coded", command="tool")
    home.program("tool")
    assert load_engines(home.config()).default == "coded"
    home.program("alpha")
    assert load_engines(home.config()).default == "alpha"
    assert default_engine_id(load_registry(home.config())) == "alpha"
    # A configuration that is wrong must be seen, but not while something else works.
    config = home.config('[alpha]\nprofile = "nobody"')
    assert load_engines(config).default == "coded"


def test_takopis_own_engine_is_the_default_only_where_nothing_else_is_installed(home):
    home.adapter("aaa", command="takopi-demo")  # found beside takopi's own scripts
    assert load_engines(home.config()).default == "aaa"
    home.program("zulu")
    assert load_engines(home.config()).default == "zulu"
    config = home.config('[zulu]\nprofile = "nobody"')
    with pytest.raises(ConfigError, match=r"^Invalid `zulu\.profile`"):
        load_engines(config)
    assert load_engines(config, default_engine="aaa").default == "aaa"


def test_with_no_engine_installed_the_default_one_says_so(home):
    home.adapter("aaa", "x")
    with pytest.raises(ConfigError) as failure:
        load_engines(home.config())
    assert str(failure.value) == "Default engine 'alpha' unavailable: alpha not found on PATH"
    assert default_engine_id(load_registry(home.config())) == "alpha"


def test_with_no_engine_that_loads_there_are_none(home):
    for engine in BUILT_IN:
        home.adapter(engine, "x")
    with pytest.raises(ConfigError, match=r"^No engine backends are available\.$"):
        load_engines(home.config())


def test_with_no_engine_at_all_there_are_none(home):
    for engine in BUILT_IN:
        (home.folder / "built-in" / f"{engine}.yaml").unlink()
    for call in (load_engines, lambda config: default_engine_id(load_registry(config))):
        with pytest.raises(ConfigError, match=r"^No engine backends are available\.$"):
            call(home.config())


@pytest.mark.parametrize("value", ["3", "' '"])
def test_a_default_engine_that_is_no_name(home, value):
    with pytest.raises(ConfigError, match=r"default_engine"):
        load_engines(home.config(f"default_engine = {value}"))


DEFAULT = 'default_engine = "coded"\n'


@pytest.mark.parametrize(
    ("config", "check", "error"),
    [
        (
            "coded = 3\n" + DEFAULT,
            "pass",
            "Invalid `coded` config in {path}; expected a table.",
        ),
        (
            DEFAULT + "[coded]\nmode = 1",
            "if config: from takopi.errors import ConfigError; raise ConfigError('bad mode')",
            "bad mode",
        ),
        (
            DEFAULT + "[coded]\nmode = 1",
            "if config: raise TypeError('bad mode')",
            "Default engine 'coded' unavailable: TypeError: bad mode",
        ),
        (DEFAULT, "raise SystemExit", "Default engine 'coded' unavailable: SystemExit"),
        (
            DEFAULT,
            "return 3",
            "Default engine 'coded' unavailable: build_runner gave int, which cannot run",
        ),
    ],
)
def test_s17_whatever_the_default_engines_builder_raises_is_a_clean_error(
    home, site, config, check, error
):
    home.program("coded", "alpha")
    plugin(site, "coded", check=check)
    with pytest.raises(ConfigError) as failure:
        load_engines(home.config(config))
    assert str(failure.value) == error.replace("{path}", str(home.path))


def test_s17_a_default_engine_that_does_not_load_is_a_clean_error(home, site):
    plugin(site, "coded", text="raise RuntimeError('boom')")
    text = "^Failed to load engine 'coded': RuntimeError: boom$"
    with pytest.raises(ConfigError, match=text):
        load_engines(home.config(DEFAULT))
    home.adapter("alpha", "adapter: 1\nid: [")
    with pytest.raises(ConfigError, match=r"^Failed to load engine 'alpha': ~/") as failure:
        load_engines(home.config('default_engine = "alpha"'))
    assert [d.code for d in failure.value.diagnostics] == ["syntax"]


def test_a_default_engine_whose_program_is_missing(home):
    home.program("zulu")
    with pytest.raises(ConfigError) as failure:
        load_engines(home.config('default_engine = "alpha"'))
    assert str(failure.value) == "Default engine 'alpha' unavailable: alpha not found on PATH"


# -- one engine ------------------------------------------------------------------------------------


def test_one_engine_is_built_as_it_is_configured(home, site):
    plugin(site, "coded")
    config = home.config('[alpha]\nprofile = "me"\n[coded]\nmode = 1')
    entry = engine_entry(config, "alpha")
    assert entry.runner.options.values["profile"] == "me"
    assert (entry.status, entry.issue) == ("missing_cli", "alpha not found on PATH")
    home.program("coded")
    entry = engine_entry(config, "coded", catalog=load_catalog(config))
    assert (entry.status, entry.runner.config) == ("ok", {"mode": 1})
    assert entry.source.origin == "plugin"


def test_one_engine_that_cannot_be_built_is_an_error(home, site):
    plugin(site, "coded", check="raise ValueError('x')")
    home.adapter("zulu", "x")
    config = home.config('[alpha]\nprofile = "nobody"')
    with pytest.raises(ConfigError, match=r"^Invalid `alpha\.profile`"):
        engine_entry(config, "alpha")
    with pytest.raises(ConfigError, match=r"^engine 'coded' unavailable: ValueError: x$"):
        engine_entry(config, "coded")
    with pytest.raises(ConfigError, match=r"^Failed to load engine 'zulu': ") as failure:
        engine_entry(config, "zulu")
    assert failure.value.diagnostics
    with pytest.raises(ConfigError, match=r"^Unknown engine 'beta'"):
        engine_entry(config, "beta")


def test_every_built_in_engine_gets_a_runner(home, monkeypatch):
    monkeypatch.setattr("takopi.adapters.catalog.bundled", bundled)
    ids = sorted(path.stem for path in bundled("adapters").glob("*.yaml"))
    engines = load_engines(home.config())
    assert [entry.engine for entry in engines.entries] == ids
    assert engines.default == "demo"  # nothing else is on this PATH
    assert all(isinstance(entry.runner, AdapterRunner) for entry in engines.entries)
    assert engines.warnings == ()


def test_listing_ids_loads_neither_plugins_nor_the_adapter_language(home, site):
    plugin(site, "coded")
    code = (
        "import sys; from takopi.engines.registry import list_backend_ids; print(list_backend_ids());"
        "print(*[m for m in ('jmespath', 'pydantic', 'coded_engine', 'takopi.engines.process') if m in sys.modules])"
    )
    env = {**os.environ, "PYTHONPATH": f"{site.folder}:{Path(__file__).parents[2]}"}
    out = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    first, second = out.stdout.split("\n")[:2]
    assert "'coded'" in first
    assert second == ""
