"""Adapter text to a compiled `Adapter`, or everything that is wrong with it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from takopi.adapters import checks
from takopi.adapters.adapter import Adapter, Argument, EnvPlan, Hint, SessionPlan
from takopi.adapters.backtracking import EXPONENTIAL_HELP, exponential_part
from takopi.adapters.code import Value, constant
from takopi.adapters.document import Parents, load_document
from takopi.adapters.expressions import NULL, REGEX_HELP, ExpressionCompiler
from takopi.adapters.model import AdapterSpec
from takopi.adapters.resume import ResumeFormat, build_regex
from takopi.adapters.rules import (
    ActionPlan,
    Match,
    MatchPath,
    OutcomePlan,
    Rule,
    RuleSet,
    compile_rules,
    matcher,
)
from takopi.adapters.scope import Place
from takopi.adapters.shape import check_shape
from takopi.adapters.source import Node, Source, format_path, plain
from takopi.adapters.template import ExpressionPart, TemplateError, split_template
from takopi.adapters.tools import ToolTable, builtin_tools, compile_tools
from takopi.diagnostics import Diagnostic, has_errors, in_file_order

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Compiled:
    """The result of `compile_adapter`: no adapter when there are errors."""

    adapter: Adapter | None
    diagnostics: tuple[Diagnostic, ...]


def compile_adapter(
    source: Source, *, stem: str | None = None, parents: Parents | None = None
) -> Compiled:
    """Compile the text of one adapter.

    ``stem`` is the file's name without its ending, which the id must equal; ``parents`` gives the
    text of the adapter that ``extends`` names. All problems are returned, in file order.
    """
    root, problems = load_document(source, parents or (lambda _: None))
    if root is None:
        return Compiled(None, tuple(in_file_order(problems)))
    readable = not has_errors(problems)
    shape = check_shape(root)
    found = [*shape.diagnostics, *checks.identity(root, stem)]
    build = _Build(shape.sound)
    finish = build.compile()
    found += build.compiler.diagnostics
    if readable:
        # An expression that does not compile may be what reads an option.
        failed = any(f.code in ("expression", "regex") for f in found)
        spec = None if failed else shape.spec
        found += checks.cross_field(root, spec, build.compiler.reads)
    # What stands beside a mistake in the YAML is not what its author wrote.
    spoilt = {(p.span.file, p.span.line) for p in problems if p.span}
    problems += [f for f in found if f.span is None or (f.span.file, f.span.line) not in spoilt]
    if shape.spec is None or has_errors(problems):
        return Compiled(None, tuple(in_file_order(problems)))
    problems += checks.unfinished(root, build.compiler.reads)
    return Compiled(finish(shape.spec), tuple(in_file_order(problems)))


def _condition(rule: Node) -> str | None:
    """The text of a rule's ``if``, as written."""
    node = rule.get("if")
    return node.source.text[node.start : node.end] if node is not None else None


def _items(root: Node, key: str) -> list[Node]:
    node = root.get(key)
    return node.items if node is not None else []


class _Build:
    """Compiles the parts of one document, as far as their shape is right."""

    def __init__(self, root: Node) -> None:
        self.root = root
        self.compiler = ExpressionCompiler()
        self.paths: dict[MatchPath, None] = {}

    def compile(self) -> Callable[[AdapterSpec], Adapter]:
        """Compile everything; what it gives makes the adapter, if there were no problems."""
        root, compiler = self.root, self.compiler
        stdin, end, settle = root.get("stdin"), root.get("end"), root.get("settle")
        command = compiler.text(root.get("command"), ("command",))
        args = self._arguments(root.get("args"), ("args",))
        payload = (
            compiler.text(stdin, ("stdin",))
            if stdin is not None and stdin.scalar is not None
            else None
        )
        env = self._env()
        resume = self._resume()
        session = self._session()
        tools = [(node, ("tools", i)) for i, node in enumerate(_items(root, "tools"))]
        table = ToolTable(compile_tools(tools, compiler), builtin_tools())
        rules = self._rules(_items(root, "events"), ("events",))
        outcome = self._outcome(end, ("end",)) if end is not None and end.kind == "map" else None
        lingering = compiler.mapping(settle, ("settle",)) if settle is not None else constant(10)
        hints = self._hints()

        def finish(spec: AdapterSpec) -> Adapter:
            return Adapter(
                spec=spec,
                file=root.source.file,
                command=command,
                args=args,
                stdin=payload,
                env=env,
                resume=resume,
                session=session,
                tools=table,
                rules=rules,
                end=outcome,
                settle=lingering,
                hints=hints,
                match_paths=tuple(self.paths),
                options_read=checks.options_read(compiler.reads, spec),
                expressions=tuple(compiler.compiled),
            )

        return finish

    # -- command line ------------------------------------------------------------------------

    def _arguments(self, node: Node | None, path: Path) -> tuple[Argument, ...]:
        out = []
        for i, item in enumerate(node.items if node is not None else ()):
            here = (*path, i)
            if item.kind != "map":
                out.append(Argument(self.compiler.text(item, here)))
                continue
            condition = self.compiler.mapping(item.get("if"), (*here, "if"), "command")
            out.append(
                Argument(None, condition, self._arguments(item.get("then"), (*here, "then")))
            )
        return tuple(out)

    def _env(self) -> EnvPlan:
        env = self.root.get("env")
        if env is None or env.kind != "map":
            return EnvPlan()

        def variables(key: str) -> tuple[tuple[str, Value], ...]:
            table = env.get(key)
            return tuple(
                (str(k.scalar), self.compiler.text(v, ("env", key, str(k.scalar))))
                for k, v in (table.entries if table is not None else [])
            )

        unset = env.get("unset")
        names = unset.items if unset is not None else []
        return EnvPlan(
            variables("set"),
            variables("default"),
            tuple(self.compiler.text(n, ("env", "unset", i)) for i, n in enumerate(names)),
        )

    def _resume(self) -> ResumeFormat | None:
        resume = self.root.get("resume")
        if resume is None or resume.kind != "map":
            return None
        line_node = resume.get("line")
        if line_node is None:
            return None
        path = ("resume", "line")
        line = self.compiler.text(line_node, path, "resume")
        if not self._holds_token(line_node, path):
            return None
        regex_node = resume.get("regex")
        if regex_node is not None and isinstance(regex_node.scalar, str):
            pattern = self._regex(regex_node, ("resume", "regex"), group="token")
        else:
            pattern = self._regex_of_line(line_node, path)
        if pattern is None:
            return None
        form = ResumeFormat(line, pattern)
        self.compiler.diagnostics += checks.resume_roundtrip(form, resume)
        return form

    def _holds_token(self, node: Node, path: Path) -> bool:
        """Whether the line is a command with the token in it; a broken template may be."""
        try:
            parts = split_template(str(node.scalar))
        except TemplateError:
            return False  # reported when the line was compiled
        words = "".join(part for part in parts if isinstance(part, str))
        reads = [p for p in parts if isinstance(p, ExpressionPart) and "token" in p.text]
        if words.strip() and reads:
            return True
        message = "the line has no command" if reads else "the line does not hold the token"
        self.compiler.problem(
            "resume-roundtrip",
            message,
            node.span,
            path,
            "write the command that reopens a session, such as `acme --resume ${token}`",
        )
        return False

    def _regex_of_line(self, node: Node, path: Path) -> re.Pattern[str] | None:
        parts = split_template(str(node.scalar))
        computed = [p for p in parts if isinstance(p, ExpressionPart) and p.text != "token"]
        if computed:
            self.compiler.problem(
                "regex",
                "a line that computes its token needs a `regex`",
                node.span_within(computed[0].offset, len(computed[0].text)),
                path,
                "write `${token}`, or give `resume.regex`",
            )
            return None
        found = [None if isinstance(part, ExpressionPart) else part for part in parts]
        if found.count(None) > 1:
            self.compiler.problem(
                "resume-roundtrip",
                "the line holds `${token}` more than once",
                node.span,
                path,
                "write it once, or give `resume.regex`",
            )
            return None
        return build_regex(found)

    def _regex(self, node: Node, path: Path, group: str | None = None) -> re.Pattern[str] | None:
        text = str(node.scalar)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", FutureWarning)  # a nested set: `[[`
                pattern = re.compile(text)
        except (re.error, FutureWarning, OverflowError, RecursionError) as error:
            at = getattr(error, "pos", None)
            why = str(getattr(error, "msg", error)).lower()
            if isinstance(error, RecursionError):
                why = "it nests too deep"
            self.compiler.problem(
                "regex",
                f"not a regular expression: {why}",
                node.span if at is None else node.span_within(min(at, len(text) - 1), 1),
                path,
                REGEX_HELP,
            )
            return None
        if group is not None and group not in pattern.groupindex:
            self.compiler.problem(
                "regex",
                f"the regular expression has no group `{group}`",
                node.span,
                path,
                f"write `(?P<{group}>…)` around it",
            )
            return None
        part = exponential_part(text)
        if part is not None:
            self.compiler.problem(
                "regex",
                f"this can take exponential time: `{part}`",
                node.span_within(text.find(part), len(part)),
                path,
                EXPONENTIAL_HELP,
            )
            return None
        return pattern

    def _session(self) -> SessionPlan | None:
        session = self.root.get("session")
        if session is None or session.kind != "map":
            return None

        def value(key: str) -> Value | None:
            node = session.get(key)
            return self.compiler.mapping(node, ("session", key)) if node is not None else None

        match, text, create = session.get("match"), session.get("text"), session.get("create")
        mismatch = session.get("mismatch")
        return SessionPlan(
            match=matcher(self._match(match)) if match is not None else None,
            id=value("id"),
            text=self._regex(text, ("session", "text"), "token") if text is not None else None,
            create=self.compiler.text(create, ("session", "create"), "session.create")
            if create is not None
            else None,
            title=value("title"),
            meta=value("meta"),
            adopt=mismatch is not None and mismatch.scalar == "adopt",
        )

    def _hints(self) -> tuple[Hint, ...]:
        out = []
        for i, node in enumerate(_items(self.root, "hints")):
            match, say = node.get("match"), node.get("say")
            pattern = self._regex(match, ("hints", i, "match")) if match is not None else None
            if pattern is not None and say is not None:
                out.append(Hint(pattern, str(say.scalar)))
        return tuple(out)

    # -- rules -------------------------------------------------------------------------------

    def _match(self, node: Node) -> Match:
        match: Match = {}
        for key, value in node.entries:
            path = tuple(str(key.scalar).split("."))
            self.paths[path] = None
            values = (
                [plain(item) for item in value.items] if value.kind == "list" else [value.scalar]
            )
            match[path] = tuple(values)
        return match

    def _rules(self, nodes: Sequence[Node], path: Path) -> RuleSet:
        rules = [self._rule(node, (*path, i)) for i, node in enumerate(nodes)]
        self.compiler.diagnostics += checks.unreachable(
            [(rule.match, _condition(node)) for rule, node in zip(rules, nodes, strict=True)],
            nodes,
            path,
            self.root.source,
        )
        return compile_rules(rules)

    def _rule(self, node: Node, path: Path) -> Rule:
        match, below = node.get("match"), node.get("rules")
        action, complete = node.get("action"), node.get("complete")
        written: list[tuple[str, Value]] = []
        place = Place(node.source.file, node.span.line, format_path(path))
        condition = self._value(node, path, "if")
        sets, appends = self._variables(node, path, "set"), self._variables(node, path, "append")
        for key, variables in (("set", sets), ("append", appends)):
            written += [(f"{key}.{name}", value) for name, value in variables]
        plan = self._action(action, (*path, "action"), written) if action is not None else None
        outcome = (
            self._outcome(complete, (*path, "complete"), written) if complete is not None else None
        )
        each = self._value(node, path, "each", written)
        return Rule(
            place=place,
            match=self._match(match) if match is not None else {},
            condition=condition,
            set=tuple(sets),
            append=tuple(appends),
            action=plan,
            complete=outcome,
            each=each,
            rules=self._rules(below.items, (*path, "rules")) if below is not None else None,
            values=tuple(written),
            inherited=node.source is not self.root.source,
        )

    def _value(
        self, node: Node, path: Path, key: str, written: list[tuple[str, Value]] | None = None
    ) -> Value | None:
        """A mapping field; noted in ``written`` by its place in the rule."""
        found = node.get(key)
        if found is None:
            return None
        value = self.compiler.mapping(found, (*path, key))
        if written is not None:
            # ("events", 2, "action", "tool", "name") is "action.tool.name"
            last = max(i for i, part in enumerate(path) if isinstance(part, int))
            written.append((format_path((*path[last + 1 :], key)), value))
        return value

    def _variables(self, node: Node, path: Path, key: str) -> list[tuple[str, Value]]:
        table = node.get(key)
        return [
            (str(k.scalar), self.compiler.mapping(v, (*path, key, str(k.scalar))))
            for k, v in (table.entries if table is not None else [])
        ]

    def _action(self, node: Node, path: Path, written: list[tuple[str, Value]]) -> ActionPlan:
        def value(key: str) -> Value | None:
            return self._value(node, path, key, written)

        def enum(key: str) -> Value | None:
            found = node.get(key)
            return self.compiler.text(found, (*path, key), "event") if found is not None else None

        tool, below = node.get("tool"), (*path, "tool")
        return ActionPlan(
            id=value("id") or NULL,
            phase=enum("phase"),
            kind=enum("kind"),
            title=value("title"),
            tool_name=self._value(tool, below, "name", written) if tool is not None else None,
            tool_input=(self._value(tool, below, "input", written) if tool is not None else None)
            or NULL,
            changes=value("changes"),
            exit_code=value("exit_code"),
            ok=value("ok"),
            detail=value("detail"),
        )

    def _outcome(
        self, node: Node, path: Path, written: list[tuple[str, Value]] | None = None
    ) -> OutcomePlan:
        def value(key: str) -> Value | None:
            return self._value(node, path, key, written)

        return OutcomePlan(value("answer"), value("error"), value("usage"), value("ok"))
