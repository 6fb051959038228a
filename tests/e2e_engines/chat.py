"""A chat with a bot about every engine: the real takopi, the real CLIs, a fake Telegram, fake models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from takopi.adapters.catalog import load_catalog
from takopi.config import Config
from tests.e2e_engines.bot import Bot, make_bot_home
from tests.e2e_engines.checks import Findings
from tests.e2e_engines.fake_llm import FakeLlm
from tests.e2e_engines.install import Cli
from tests.e2e_engines.report import Report
from tests.e2e_engines.talks import GROUP_CHECKS, TALK_CHECKS, GroupCheck, Talk, TalkCheck
from tests.fake_telegram import FakeBotApi, FakeTelegram, Options, Room

COLUMNS = (*TALK_CHECKS, *GROUP_CHECKS)

_LIFETIME_S = 3600.0
_MAX_REQUESTS = 100_000


class Chat:
    """One takopi, and a talk per engine, each with a person and a chat of its own.

    ``limit_s``   seconds that one answer may take
    ``together``  how many engines are to work at the same time, at least
    """

    def __init__(
        self, clis: Mapping[str, Cli], base: Path, *, limit_s: float, together: int
    ) -> None:
        self._clis, self._base = clis, base
        self._limit_s, self._together = limit_s, max(2, together)
        self._reports = {engine: Report(engine, cli) for engine, cli in clis.items()}

    def hold(self) -> list[Report]:
        """Play every conversation; a report per engine."""
        strict = Options(strict_code=True, strict_text=True, strict_reply=True)
        api = FakeBotApi(time_scale=1.0, limits="log", options=strict)
        with ExitStack() as stack:
            tg = FakeTelegram(api, max_requests=_MAX_REQUESTS, lifetime_s=_LIFETIME_S)
            stack.enter_context(tg)
            llms = {engine: stack.enter_context(FakeLlm()) for engine in self._clis}
            names = enumerate(self._clis, 1)
            rooms = [tg.private(tg.user(number, f"{name} user")) for number, name in names]
            urls = {engine: llm.url for engine, llm in llms.items()}
            path = list(dict.fromkeys(each for cli in self._clis.values() for each in cli.path))
            home = make_bot_home(urls, self._base / "home", path, tg, rooms)
            bot = Bot(home, tg, rooms[0], self._base / "logs")
            stack.callback(bot.stop)
            talks = self._talks(bot, llms, rooms)
            self._play(talks, bot)
        return list(self._reports.values())

    def _talks(self, bot: Bot, llms: Mapping[str, FakeLlm], rooms: Sequence[Room]) -> list[Talk]:
        catalog = load_catalog(Config(self._base / "takopi.toml"))  # no such file: the bundled
        talks: list[Talk] = []
        for engine, room in zip(llms, rooms, strict=True):
            resume = catalog.adapter(engine).resume
            assert resume is not None, f"{engine} cannot resume"
            talks.append(Talk(engine, room, llms[engine], bot, resume, not talks, self._limit_s))
        for talk, other in zip(talks, [*talks[1:], talks[0]], strict=True):
            talk.other = other if other is not talk else None
        return talks

    def _play(self, talks: Sequence[Talk], bot: Bot) -> None:
        wrong = bot.start()
        for talk in talks:
            for name, check in TALK_CHECKS.items():
                if name != "switch" or talk.other is not None:
                    self._check(name, partial(_alone, check), [talk])
        for name, check_group in GROUP_CHECKS.items():
            for group in _groups(talks, self._together):
                if name != "together" or len(group) > 1:
                    self._check(name, check_group, group)
        wrong += bot.stop()
        for report in self._reports.values():
            report.findings["restart"].problems += wrong

    def _check(self, name: str, check: GroupCheck, talks: Sequence[Talk]) -> None:
        with ExitStack() as stack:
            found = {}
            for talk in talks:
                report = self._reports[talk.engine]
                found[talk.engine] = stack.enter_context(report.check(name, talk.llm))
            try:
                check(talks, found)
            finally:
                for talk in talks:
                    talk.settle(found[talk.engine])


def _alone(check: TalkCheck, talks: Sequence[Talk], found: Mapping[str, Findings]) -> None:
    check(talks[0], found[talks[0].engine])


def _groups(talks: Sequence[Talk], size: int) -> list[Sequence[Talk]]:
    """The talks in groups of ``size``; a last one alone joins those before it."""
    groups = [talks[i : i + size] for i in range(0, len(talks), size)]
    if len(groups) > 1 and len(groups[-1]) == 1:
        groups[-2:] = [[*groups[-2], *groups[-1]]]
    return groups
