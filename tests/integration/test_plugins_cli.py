"""`takopi plugins`: the rows, the marks and the errors, with real distributions and files."""

import pytest

from takopi.cli.plugins import plugins_command
from takopi.errors import ConfigError
from takopi.plugins import ADAPTERS_GROUP, COMMAND_GROUP, ENGINE_GROUP, TRANSPORT_GROUP
from tests.support.distributions import new_site

ADAPTER = """
adapter: 1
id: {id}
command: {id}
args: [run, "${{run().prompt}}"]
resume: null
session: {{id: id}}
events:
  - match: {{type: done}}
    complete: {{answer: text}}
"""
ENGINE = """
from takopi.engines.backend import EngineBackend
BACKEND = EngineBackend("coded", lambda config, path: None)
"""
COMMAND = """
class Greet:
    id = "greet"
    description = "says hello"
    async def handle(self, ctx): ...
BACKEND = Greet()
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    yield from new_site(tmp_path, monkeypatch)


@pytest.fixture
def home(tmp_path, monkeypatch, site):
    """Two built-in engines, no transport of takopi's own, an empty configuration."""
    folder = tmp_path / "home"
    (folder / ".takopi").mkdir(parents=True)
    (folder / "work").mkdir()
    for engine in ("alpha", "zulu"):
        adapter(folder / "built-in", engine)
    monkeypatch.setattr("takopi.adapters.catalog.bundled", lambda kind: folder / "built-in")
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("TAKOPI_CONFIG", raising=False)
    monkeypatch.chdir(folder / "work")
    return folder


def adapter(folder, engine, text=ADAPTER):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{engine}.yaml").write_text(text.format(id=engine))


def configure(home, text):
    (home / ".takopi" / "takopi.toml").write_text(text)


def show(capsys, *, load=False, strict=False):
    """Exit code and lines; takopi's own transports, which come and go, are left out."""
    code = plugins_command(load=load, strict=strict)
    out = capsys.readouterr().out.splitlines()
    own = ("  telegram (takopi)", "  terminal (takopi)")
    return code, [line for line in out if not line.startswith(own)]


def fill(site, home):
    """One of everything, and something that is wrong in every group."""
    adapter(home / ".takopi/adapters", "mine")
    adapter(home / ".takopi/adapters", "zulu")
    adapter(site.folder / "pack", "packed")
    site.install("pack-dist", {ADAPTERS_GROUP: {"pack": "pack"}})
    site.install(
        "acme",
        {ENGINE_GROUP: {"coded": "coded:BACKEND", "alpha": "coded:ALPHA", "init": "coded:BACKEND"}},
        modules={"coded": ENGINE},
    )
    points = {"greet": "greet:BACKEND", "bad-id": "greet:BACKEND"}
    site.install("commands", {COMMAND_GROUP: points}, modules={"greet": COMMAND})
    site.install("pager", {TRANSPORT_GROUP: {"pager": "pager:BACKEND"}})


EVERYTHING = """\
engine backends:
  alpha (acme)
    shadows takopi
  coded (acme)
  mine (user ~/.takopi/adapters/mine.yaml)
  packed (pack-dist)
  zulu (user ~/.takopi/adapters/zulu.yaml)
    shadows takopi
transport backends:
  pager (pager)
command backends:
  greet (commands)
errors:
  engine init (acme): reserved plugin id 'init' is not allowed
  command bad-id (commands): invalid plugin id 'bad-id'; must match ^[a-z0-9_]{1,32}$
""".splitlines()


def test_everything_is_listed_and_nothing_imported(home, site, capsys):
    fill(site, home)
    assert show(capsys) == (0, EVERYTHING)
    assert site.imports == []


def test_load_imports_everything_and_shows_what_fails(home, site, capsys):
    fill(site, home)
    adapter(home / ".takopi/adapters", "mine", "adapter: 1\nid: [")
    code, lines = show(capsys, load=True)
    assert code == 0
    assert site.imports == ["coded", "greet"]
    errors = lines[lines.index("errors:") + 1 :]
    assert [line.partition(": ")[0] for line in errors] == [
        "  engine mine (user ~/.takopi/adapters/mine.yaml)",
        "  engine alpha (acme)",
        "  engine init (acme)",
        "  transport pager (pager)",
        "  command bad-id (commands)",
    ]
    assert "~/.takopi/adapters/mine.yaml:2: " in errors[0]
    assert errors[1].endswith("module 'coded' has no attribute 'ALPHA'")
    assert errors[3].endswith("ModuleNotFoundError: No module named 'pager'")


def test_marks_show_what_an_allowlist_enables(home, site, capsys):
    fill(site, home)
    configure(home, '[plugins]\nenabled = ["PAGER", "pack.dist"]')
    code, lines = show(capsys, load=True)
    assert lines[: lines.index("errors:")] == [
        "engine backends:",
        "  alpha (takopi) enabled",
        "  alpha (acme) disabled",
        "  coded (acme) disabled",
        "  init (acme) disabled",
        "  mine (user ~/.takopi/adapters/mine.yaml) enabled",
        "  packed (pack-dist) enabled",
        "  zulu (user ~/.takopi/adapters/zulu.yaml) enabled",
        "    shadows takopi",
        "transport backends:",
        "  pager (pager) enabled",
        "command backends:",
        "  bad-id (commands) disabled",
        "  greet (commands) disabled",
    ]
    assert code == 0
    assert site.imports == []
    assert len(lines[lines.index("errors:") :]) == 2  # the pager's module is missing


def test_p12_strict_fails_when_there_are_errors(home, site, capsys):
    assert show(capsys, load=True, strict=True)[0] == 0
    adapter(home / ".takopi/adapters", "mine", "x")
    assert show(capsys, strict=True)[0] == 0  # nothing was loaded
    assert show(capsys, load=True, strict=True)[0] == 1
    assert show(capsys, load=True)[0] == 0
    (home / ".takopi/adapters/mine.yaml").unlink()
    site.install("commands", {COMMAND_GROUP: {"bad-id": "greet:BACKEND"}})
    assert show(capsys, strict=True)[0] == 1


def test_empty_sections_say_so(home, capsys):
    code, lines = show(capsys, strict=True)
    assert code == 0
    assert lines[:3] == ["engine backends:", "  alpha (takopi)", "  zulu (takopi)"]
    assert lines[-2:] == ["command backends:", "  (none)"]


def test_a_distribution_without_a_name_is_unknown(home, site, capsys):
    site.install(None, {COMMAND_GROUP: {"greet": "greet:BACKEND"}}, metadata=False)
    assert "  greet (unknown)" in show(capsys)[1]
    configure(home, '[plugins]\nenabled = ["acme"]')
    assert "  greet (unknown) disabled" in show(capsys)[1]


def test_a_broken_command_plugin_breaks_no_listing(home, site, capsys):
    site.install("bad", {COMMAND_GROUP: {"bad": "bad:X"}}, modules={"bad": "raise SystemExit(9)"})
    code, lines = show(capsys, load=True)
    assert code == 0
    assert lines[-2:] == ["errors:", "  command bad (bad): SystemExit: 9"]


def test_a_bad_configuration_is_an_error(home):
    configure(home, "plugins = 3")
    with pytest.raises(ConfigError, match="plugins"):
        plugins_command(load=False, strict=False)
