"""Hot reload with real files: what takes effect, what is refused, and what is never lost."""

import logging
import os
import shutil
from contextlib import asynccontextmanager

import anyio
import pytest

from takopi import plugins
from takopi.bridge import reload
from takopi.bridge.build import build_runtime_spec
from takopi.bridge.reload import watch_config
from takopi.bridge.sources import config_status
from takopi.config import load_config
from takopi.engines.base import session_lock
from takopi.model import ResumeToken

ADAPTER = """
adapter: 1
id: {engine}
command: {engine}-cli
args: ["${{run().prompt}}", "${{run().resume}}"]
resume: {{line: "{engine} --resume ${{token}}"}}
session: {{match: {{type: init}}, id: id}}
events: [{{match: {{type: end}}, complete: {{answer: text}}}}]
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(reload, "_SETTLE_S", 0.02)
    for name in ("bin", ".takopi/adapters", "one", "two"):
        (tmp_path / name).mkdir(parents=True)
    for engine in ("acme", "other"):
        install(tmp_path, engine)
    write(tmp_path, 'default_engine = "acme"\nwatch_config = true\n')
    plugins.reset_plugin_state()
    return tmp_path


def install(home, engine):
    script = home / f"bin/{engine}-cli"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    (home / f".takopi/adapters/{engine}.yaml").write_text(ADAPTER.format(engine=engine))


def write(home, text):
    """As editors do it: a new file takes the old one's place."""
    draft = home / ".takopi/draft"
    draft.write_text(text)
    draft.replace(home / ".takopi/takopi.toml")


class Watched:
    def __init__(self, home, **options):
        self.path = home / ".takopi/takopi.toml"
        spec = build_runtime_spec(load_config(self.path))
        self.runtime = spec.to_runtime(config_path=self.path)
        self.reloads, self.problems = [], []
        self.options = options

    async def run(self):
        await watch_config(
            config_path=self.path,
            runtime=self.runtime,
            on_reload=self.reloads.append,
            on_problem=self.problems.append,
            poll_s=0.02,
            **self.options,
        )

    async def until(self, condition):
        with anyio.fail_after(10):
            while not condition():  # noqa: ASYNC110
                await anyio.sleep(0.01)


@asynccontextmanager
async def watching(home, **options):
    watched = Watched(home, **options)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watched.run)
        await anyio.sleep(0.1)
        yield watched
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_a_good_change_takes_effect_as_a_whole(home):
    async with watching(home) as watched:
        write(
            home,
            'default_engine = "other"\ndefault_project = "p"\n[projects.p]\npath = "../one"\n'
            '[plugins]\nenabled = ["takopi-x"]\n[plugins.x]\ncolour = "red"\n',
        )
        await watched.until(lambda: watched.reloads)
        runtime = watched.runtime
        assert runtime.default_engine == "other"
        assert runtime.default_project == "p"
        assert runtime.plugin_config("x") == {"colour": "red"}
        assert runtime.allowlist == {"takopi-x"}
        (told,) = watched.reloads
        assert told.config_path == watched.path
        assert told.settings.default_engine == "other"
        assert told.runtime_spec is runtime.spec


@pytest.mark.anyio
async def test_a_bad_change_is_told_and_the_last_good_one_stays(home):
    async with watching(home) as watched:
        before = watched.runtime.spec
        for text, reason in [
            ("default_engine = [", "Malformed TOML"),
            ('default_engine = "none"\n', "Unknown default engine 'none'"),
            ('watch_config = "perhaps"\n', "watch_config: expected true or false"),
            ('[projects.acme]\npath = "x"\n', "aliases must not match"),
        ]:
            watched.problems.clear()
            write(home, text)
            await watched.until(lambda: watched.problems)
            assert reason in watched.problems[0]
            assert "the last good one stays" in watched.problems[0]
            assert watched.runtime.spec is before
        assert not watched.reloads
        write(home, 'default_engine = "other"\n')
        await watched.until(lambda: watched.reloads)
        assert watched.runtime.default_engine == "other"


@pytest.mark.anyio
async def test_s8_a_change_between_loading_and_watching_is_seen(home):
    watched = Watched(home)
    write(home, 'default_engine = "other"\n')
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watched.run)
        await watched.until(lambda: watched.reloads)
        tasks.cancel_scope.cancel()
    assert watched.runtime.default_engine == "other"


@pytest.mark.anyio
async def test_s8_a_missing_folder_is_survived(home, caplog):
    caplog.set_level(logging.INFO, "takopi")
    text = (home / ".takopi/takopi.toml").read_text()
    async with watching(home) as watched:
        before = watched.runtime.spec
        shutil.move(home / ".takopi", home / "away")
        await anyio.sleep(0.3)
        assert watched.runtime.spec is before
        shutil.move(home / "away", home / ".takopi")
        await watched.until(lambda: watched.reloads)  # also if it is the same
        assert (home / ".takopi/takopi.toml").read_text() == text
        assert watched.runtime.default_engine == "acme"
    told = [r.getMessage() for r in caplog.records if "config.watch" in r.getMessage()]
    assert [text.split()[0] for text in told] == [
        "config.watch.unavailable",
        "config.watch.available",
    ]


@pytest.mark.anyio
async def test_s8_the_event_loop_is_not_held_up(home, monkeypatch):
    import time

    def slow(*args, **options):
        time.sleep(0.3)
        return real(*args, **options)

    real = reload.build_runtime_spec
    monkeypatch.setattr(reload, "build_runtime_spec", slow)
    async with watching(home) as watched:
        write(home, 'default_engine = "other"\n')
        longest = 0.0
        while not watched.reloads:
            begun = time.monotonic()
            await anyio.sleep(0.005)
            longest = max(longest, time.monotonic() - begun)
    assert longest < 0.25


@pytest.mark.anyio
async def test_nothing_happens_without_a_change(home):
    async with watching(home) as watched:
        os.utime(home / "one")
        await anyio.sleep(0.3)
        assert not watched.reloads
        assert not watched.problems


@pytest.mark.anyio
async def test_an_adapter_dropped_in_is_an_engine(home):
    async with watching(home) as watched:
        install(home, "fresh")
        await watched.until(lambda: "fresh" in watched.runtime.available_engine_ids())


@pytest.mark.anyio
async def test_an_adapter_that_is_broken_while_it_runs_stays_as_it_was(home):
    async with watching(home) as watched:
        runner = watched.runtime.resolve_runner(resume_token=None, engine_override="other").runner
        (home / ".takopi/adapters/other.yaml").write_text("adapter: 1\nid: other\nevents: 7\n")
        await watched.until(lambda: watched.problems)
        assert "engine 'other'" in watched.problems[0]
        now = watched.runtime.resolve_runner(resume_token=None, engine_override="other")
        assert now.available
        assert now.runner is runner
        install(home, "other")
        await watched.until(lambda: len(watched.reloads) > 1)
        assert watched.runtime.resolve_runner(resume_token=None, engine_override="other").available


@pytest.mark.anyio
async def test_an_installed_package_is_seen(home, monkeypatch):
    site = home / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    async with watching(home) as watched:
        (site / "acme_engine.py").write_text(
            "from takopi.engines.backend import EngineBackend\n"
            "class R:\n"
            "    engine = 'coded'\n"
            "    def run(self, prompt, resume): ...\n"
            "    def format_resume(self, token): return ''\n"
            "    def is_resume_line(self, line): return False\n"
            "    def extract_resume(self, text): return None\n"
            "BACKEND = EngineBackend('coded', lambda config, path: R(), cli_cmd='acme-cli')\n"
        )
        info = site / "acme_engine-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-engine\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(
            "[takopi.engine_backends]\ncoded = acme_engine:BACKEND\n"
        )
        await watched.until(lambda: "coded" in watched.runtime.engine_ids)
    plugins.reset_plugin_state()


@pytest.mark.anyio
async def test_an_engine_chosen_on_the_command_line_stays(home):
    async with watching(home, default_engine_override="acme") as watched:
        write(home, 'default_engine = "other"\n')
        await watched.until(lambda: watched.reloads)
        assert watched.runtime.default_engine == "acme"


@pytest.mark.anyio
async def test_session_locks_survive(home):
    token = ResumeToken("acme", "s1")
    async with watching(home) as watched:
        lock = session_lock(token)
        await lock.acquire()
        old = watched.runtime.resolve_runner(resume_token=token, engine_override=None).runner
        write(home, 'default_engine = "other"\n')
        await watched.until(lambda: watched.reloads)
        new = watched.runtime.resolve_runner(resume_token=token, engine_override=None).runner
        assert new is not old
        assert session_lock(token) is lock
        with anyio.move_on_after(0.05) as scope:
            await session_lock(token).acquire()
        assert scope.cancelled_caught
        lock.release()


@pytest.mark.anyio
async def test_a_callback_that_raises_is_logged(home, caplog):
    def fail(reloaded):
        raise RuntimeError("boom")

    watched = Watched(home)
    watched.reloads = type("List", (list,), {"append": staticmethod(fail)})()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watched.run)
        write(home, 'default_engine = "other"\n')
        await watched.until(lambda: watched.runtime.default_engine == "other")
        await watched.until(lambda: "config.reload.callback_failed" in caplog.text)
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_a_half_written_file_is_not_read(home):
    async with watching(home) as watched:
        file = home / ".takopi/takopi.toml"
        with file.open("w") as out:  # in place, in steps
            for part in ("default_eng", 'ine = "ot', 'her"\n'):
                out.write(part)
                out.flush()
                await anyio.sleep(0.01)
        await watched.until(lambda: watched.reloads)
        assert not watched.problems
        assert watched.runtime.default_engine == "other"


@pytest.mark.parametrize(
    ("make", "status"),
    [
        (lambda path: path.write_text("x"), "ok"),
        (lambda path: None, "missing"),
        (lambda path: path.mkdir(), "invalid"),
        (lambda path: path.symlink_to("/nowhere/at/all"), "missing"),
    ],
)
def test_status_of_a_file(tmp_path, make, status):
    path = tmp_path / "takopi.toml"
    make(path)
    found, seen = config_status(path)
    assert found == status
    assert (seen is not None) == (status == "ok")
