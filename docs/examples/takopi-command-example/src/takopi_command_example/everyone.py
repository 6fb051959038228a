"""``/everyone PROMPT``: the same question to every engine at once, and all answers in one message."""

from __future__ import annotations

from takopi.api import CommandContext, CommandResult, ConfigError, RunRequest, RunResult


class Everyone:
    """Asks the engines of ``[plugins.everyone] engines``, else all that can run."""

    id = "everyone"
    description = "ask every engine at once"

    async def handle(self, ctx: CommandContext) -> CommandResult:
        """One message, with a part for each engine."""
        if not ctx.args_text.strip():
            return CommandResult("usage: /everyone PROMPT")
        engines = self._engines(ctx)
        if not engines:
            return CommandResult("no engine can run; see `takopi doctor`")
        await ctx.executor.send(f"asking {', '.join(engines)} …", notify=False)
        # Captured: nothing is posted while they work, and no run shows up as a message of its own.
        results = await ctx.executor.run_many(
            [RunRequest(ctx.args_text, engine) for engine in engines], mode="capture", parallel=True
        )
        return CommandResult("\n\n".join(map(self._part, results)))

    def _engines(self, ctx: CommandContext) -> tuple[str, ...]:
        # What the runtime and the configuration say may change at any time: ask them in every call.
        engines = ctx.plugin_config.get("engines")
        if engines is None:
            return tuple(ctx.runtime.available_engine_ids())
        if not isinstance(engines, list) or not all(isinstance(e, str) for e in engines):
            raise ConfigError("`plugins.everyone.engines` must be a list of engine ids")
        return tuple(engines)

    def _part(self, result: RunResult) -> str:
        # An engine that fails does not raise; `error` says why.
        said = result.answer if result.ok else f"error: {result.error}"
        return f"## {result.engine}\n\n{said or 'no answer'}"


BACKEND = Everyone()
