"""`takopi.api`: what plugins may rely on, and whether its page tells the truth."""

import ast
import inspect
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import takopi
from takopi import api

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/plugin-api.md").read_text(encoding="utf-8")


def _words(text):
    return text.split()


STABLE = _words("""
    EngineId ResumeToken Action StartedEvent ActionEvent CompletedEvent EventFactory RunContext
    ConfigError DirectiveError RunnerUnavailableError TAKOPI_PLUGIN_API_VERSION
    EngineConfig EngineBackend Runner BaseRunner JsonlSubprocessRunner list_backends install_issue
    MessageRef RenderedMessage SendOptions Transport Presenter ProgressTracker ProgressState
    ActionState SetupIssue SetupResult TransportBackend TransportRuntime ResolvedMessage
    ResolvedRunner
    ExecBridgeConfig IncomingMessage RunningTask RunningTasks handle_message ThreadJob
    ThreadScheduler
    CommandBackend CommandContext CommandExecutor CommandResult RunRequest RunResult RunMode
    RESERVED_COMMAND_IDS get_command list_command_ids
    HOME_CONFIG_PATH read_config write_config load_settings get_logger bind_run_context
    clear_context suppress_logs set_run_base_dir reset_run_base_dir
""")
ADDED = _words("""
    TakopiEvent ActionKind ResumeTokenMixin EngineRunOptions apply_run_options get_run_options
    MarkdownFormatter MarkdownParts assemble_markdown_parts watch_config ConfigReload ensure_table
    dump_toml get_run_base_dir list_transports get_transport ContextSource is_valid_id
    CommandPlace run_command MarkdownPresenter
""")


def test_the_exported_names_are_the_documented_ones():
    assert len(STABLE) == len(set(STABLE)) == 60
    assert sorted(api.__all__) == sorted([*STABLE, *ADDED])
    assert api.TAKOPI_PLUGIN_API_VERSION == 1


@pytest.mark.parametrize("name", api.__all__)
def test_an_exported_name_is_there(name):
    assert getattr(api, name) is not None


@pytest.mark.parametrize("name", ADDED)
def test_p1_what_plugins_dug_out_of_internals_is_exported(name):
    scope = {}
    exec(f"from takopi.api import {name}", scope)
    assert scope[name] == getattr(api, name)


def test_the_version_is_what_the_metadata_says():
    assert takopi.__version__ == version("takopi")


def test_all_names_come_with_a_star():
    scope = {}
    exec("from takopi.api import *", scope)
    assert set(api.__all__) <= scope.keys()


def test_a_name_that_is_not_exported():
    with pytest.raises(ImportError, match="cannot import name 'Nothing'"):
        from takopi.api import Nothing  # noqa: F401


def test_message_refs_are_equal_by_channel_and_id():
    ref = api.MessageRef(1, 2, raw={}, thread_id=3, sender_id=4)
    assert ref == api.MessageRef(1, 2)
    assert hash(ref) == hash(api.MessageRef(1, 2))
    assert ref != api.MessageRef(1, 3)


def test_importing_it_does_not_wait_for_what_few_plugins_need():
    code = "import sys, takopi.api\nprint(*sys.modules, sep='\\n')"
    # Without the environment's own start-up, which imports what it likes.
    paths = f"import sys\nsys.path[:] = {[str(ROOT), *sys.path]!r}\n"
    done = subprocess.run(
        [sys.executable, "-S", "-c", paths + code], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    modules = set(done.stdout.split())
    slow = {
        *("pydantic", "jmespath", "ruamel", "tomlkit", "structlog", "rich", "httpx", "psutil"),
        *("takopi.engines.registry", "takopi.engines.python", "takopi.bridge.reload"),
    }
    assert modules & slow == set()


# -- the page

ROWS = re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE)


def name_of(row):
    return row.partition("(")[0]


def parameters(text):
    """Names with kinds, and defaults as they are written; ``...`` for those that have no short name."""
    function = ast.parse(f"def f{text}: ...").body[0]
    scope = {"monotonic": ..., "sleep": ..., "Event": lambda: ...}
    defaults = {}
    found = function.args
    both = [*found.posonlyargs, *found.args]
    for arg, default in zip(both[len(both) - len(found.defaults) :], found.defaults, strict=True):
        defaults[arg.arg] = default
    for arg, default in zip(found.kwonlyargs, found.kw_defaults, strict=True):
        if default is not None:
            defaults[arg.arg] = default
    values = {
        name: eval(compile(ast.Expression(node), "page", "eval"), scope)
        for name, node in defaults.items()
    }
    names = [(arg.arg, "positional") for arg in both]
    names += [(arg.arg, "keyword") for arg in found.kwonlyargs]
    names += [(found.kwarg.arg, "rest")] if found.kwarg else []
    return names, values


def actual(function, is_method):
    """The same of a function."""
    kinds = {"KEYWORD_ONLY": "keyword", "VAR_KEYWORD": "rest"}
    found = list(inspect.signature(function).parameters.values())
    if is_method and found and found[0].name == "self":
        found = found[1:]
    names = [(p.name, kinds.get(p.kind.name, "positional")) for p in found]
    defaults = {p.name: p.default for p in found if p.default is not inspect.Parameter.empty}
    return names, defaults


def same_default(written, real):
    return written is ... or repr(real) == "<factory>" or written == real


def test_the_page_has_every_name_once():
    assert len(ROWS) == len(set(map(name_of, ROWS)))
    assert {name_of(row) for row in ROWS if "." not in name_of(row)} == set(api.__all__)


@pytest.mark.parametrize("row", [row for row in ROWS if "(" in row], ids=name_of)
def test_a_signature_on_the_page_is_the_real_one(row):
    name = name_of(row)
    thing = api
    for part in name.split("."):
        thing = getattr(thing, part)
    names, defaults = actual(thing, "." in name)
    written_names, written_defaults = parameters(row[len(name) :])
    assert written_names == names
    assert written_defaults.keys() == defaults.keys()
    for key, value in written_defaults.items():
        assert same_default(value, defaults[key]), key


@pytest.mark.parametrize("row", [r for r in ROWS if "." in r and "(" not in r])
def test_an_attribute_on_the_page_is_there(row):
    owner, _, attribute = row.partition(".")
    assert isinstance(getattr(getattr(api, owner), attribute), property)


@pytest.mark.parametrize(
    "owner",
    [
        "TransportRuntime",
        "Transport",
        "Presenter",
        "ThreadScheduler",
        "CommandExecutor",
        "Runner",
        "BaseRunner",
        "JsonlSubprocessRunner",
        "EventFactory",
        "TransportBackend",
    ],
)
def test_the_page_has_every_method(owner):
    methods = {
        name
        for name, value in vars(getattr(api, owner)).items()
        if not name.startswith("_")
        and (callable(value) or isinstance(value, (property, staticmethod)))
    } - {"spec", "run_impl"}
    written = {
        row.partition(".")[2].partition("(")[0] for row in ROWS if row.startswith(f"{owner}.")
    }
    assert methods <= written | {"run_impl"}


def test_the_page_says_async_where_it_is():
    table = dict(re.findall(r"^\| `([^`]+)` \| (.*) \|$", PAGE, re.MULTILINE))
    for row, text in table.items():
        owner, _, method = name_of(row).partition(".")
        thing = getattr(getattr(api, owner), method) if method else getattr(api, owner)
        if inspect.iscoroutinefunction(thing) and owner != "ThreadScheduler":
            assert text.startswith("async"), row


def test_the_pages_example_is_a_command():
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    scope = {}
    exec(code, scope)
    assert isinstance(scope["BACKEND"], api.CommandBackend)


def test_reserved_words_are_as_the_page_says():
    (row,) = re.findall(r"`RESERVED_COMMAND_IDS` \| `([^`]+)`", PAGE)
    assert set(row.split()) == api.RESERVED_COMMAND_IDS


@pytest.mark.parametrize("name", ["ActionKind", "ContextSource"])
def test_literals_are_as_the_page_says(name):
    (row,) = re.findall(rf"^\| `{name}` \| (.*) \|$", PAGE, re.MULTILINE)
    assert re.findall(r"`(\w+)`", row) == list(getattr(api, name).__args__)
