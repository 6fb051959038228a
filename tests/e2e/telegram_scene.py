"""Scenes: tests that play at the same time, each on a stage of its own, because a bot mostly waits.

    @scene(table='session_mode = "chat"')
    def test_something(bot, dm): ...

All chosen scenes begin with the first one that is asked for. ``bot`` is a `Stage` whose takopi is
started, unless ``started=False``; ``dm`` is the private chat of Alice with it. At the end nothing may
be left running, and `FakeTelegram.check` must have nothing to complain about.
"""

import inspect
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import pytest

from tests.e2e.telegram_stage import Stage
from tests.fake_telegram import FakeBotApi, FakeTelegram

AT_ONCE = 10
LIFETIME_S = 300
_PLAYING = pytest.StashKey()


@dataclass(frozen=True)
class Scene:
    """``long``: begins before the others; ``api`` are options of `FakeBotApi`."""

    play: object
    top: str = ""
    table: str = ""
    started: bool = True
    long: bool = False
    api: dict = field(default_factory=dict)

    def perform(self, home, params):
        api = FakeBotApi(**self.api)
        with FakeTelegram(api, lifetime_s=LIFETIME_S) as tg:
            dm = tg.private(tg.user(1, "Alice"))
            stage = Stage(home, tg, dm)
            try:
                stage.configure(self.top, self.table)
                if self.started:
                    stage.start()
                self.play(stage, dm, **params)
                stage.end()
            except BaseException as error:
                error.add_note(f"{tg.report()}\n{stage.stderr[-5000:]}")
                raise
            finally:
                stage.give_up()
            tg.check()


def scene(**options):
    """Make a test of a play."""

    def make(play):
        def test(request, **params):
            _futures(request)[request.node.nodeid].result()

        first = inspect.Parameter("request", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        others = list(inspect.signature(play).parameters.values())[2:]
        test.__signature__ = inspect.Signature([first, *others])
        test.__name__, test.__doc__, test.__module__ = play.__name__, play.__doc__, play.__module__
        test.pytestmark = getattr(play, "pytestmark", [])  # its parameters
        test.scene = Scene(play, **options)
        return test

    return make


def _futures(request):
    """The results of all scenes that were chosen, by the id of their test; they begin now."""
    session = request.session
    if _PLAYING not in session.stash:
        homes = request.getfixturevalue("tmp_path_factory")
        pool = ThreadPoolExecutor(AT_ONCE, "scene")
        request.config.add_cleanup(partial(pool.shutdown, cancel_futures=True))
        items = [item for item in session.items if hasattr(item.obj, "scene")]
        items.sort(key=lambda item: not item.obj.scene.long)
        session.stash[_PLAYING] = {
            item.nodeid: pool.submit(
                item.obj.scene.perform,
                homes.mktemp(re.sub(r"\W", "_", item.name)[:40]),
                item.callspec.params if hasattr(item, "callspec") else {},
            )
            for item in items
        }
    return session.stash[_PLAYING]
