"""Adapter text to a compiled `Adapter`, or everything that is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from takopi.adapters import checks
from takopi.adapters.adapter import Adapter, Argument, EnvPlan, Hint, SessionPlan
from takopi.adapters.expressions import NULL, ExpressionCompiler, Value, constant
from takopi.adapters.model import EXTENDABLE_LISTS, FORMAT_VERSION, NEVER_INHERITED, AdapterSpec
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
from takopi.adapters.source import Node, Source, format_path, parse, plain
from takopi.adapters.template import ExpressionPart, TemplateError, split_template
from takopi.adapters.tools import ToolTable, builtin_tools, compile_tools
from takopi.diagnostics import Diagnostic, has_errors, in_file_order

Path = tuple[str | int, ...]
Parents = Callable[[str], Source | None]


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
    root, problems = _load(source, parents or (lambda _: None), ())
    if root is None or has_errors(problems):
        return Compiled(None, tuple(in_file_order(problems)))
    spec, found = check_shape(root)
    problems += found
    problems += checks.identity(root, stem)
    if spec is None:
        # Expressions are checked all the same, so that one run shows every problem.
        problems += _expression_problems(root)
        return Compiled(None, tuple(in_file_order(problems)))
    build = _Build(root, spec)
    adapter = build.adapter(source)
    problems += build.problems()
    problems += checks.cross_field(root, spec, build.compiler.reads)
    ordered = tuple(in_file_order(problems))
    return Compiled(None if has_errors(ordered) else adapter, ordered)


def _load(
    source: Source, parents: Parents, chain: tuple[str, ...]
) -> tuple[Node | None, list[Diagnostic]]:
    """The document with its parents' keys laid under it."""
    root, problems = parse(source)
    if root is None:
        return None, problems
    if root.kind != "map":
        what = Diagnostic(
            "schema", "an adapter is a mapping of keys", root.span, help="begin with `adapter: 1`"
        )
        return None, [*problems, what]
    version = _check_version(root)
    if version is not None:
        return None, [version]
    extends = root.get("extends")
    if extends is None or not isinstance(extends.scalar, str) or has_errors(problems):
        return root, problems
    own_id = root.get("id")
    seen = (*chain, str(own_id.scalar) if own_id is not None else "")
    if extends.scalar in seen:
        cycle = " → ".join((*seen, extends.scalar))
        problems.append(
            _extends_problem(extends, f"`extends` goes round in a circle: {cycle}", None)
        )
        return None, problems
    text = parents(extends.scalar)
    if text is None:
        advice = "see `takopi adapters list`"
        problems.append(
            _extends_problem(extends, f"there is no adapter `{extends.scalar}`", advice)
        )
        return None, problems
    parent, parent_problems = _load(text, parents, seen)
    if parent is None or has_errors(parent_problems):
        first = parent_problems[0].message if parent_problems else "it cannot be read"
        advice = f"run `takopi adapters validate {extends.scalar}`"
        message = f"the adapter it extends, `{extends.scalar}`, is broken: {first}"
        problems.append(_extends_problem(extends, message, advice))
        return None, problems
    return _inherit(root, parent), problems


def _extends_problem(node: Node, message: str, advice: str | None) -> Diagnostic:
    return Diagnostic("schema", message, node.span, "extends", advice)


def _check_version(root: Node) -> Diagnostic | None:
    version = root.get("adapter")
    if version is None:
        at = root.source.span(root.start, root.start + 1)
        advice = f"begin the file with `adapter: {FORMAT_VERSION}`"
        return Diagnostic(
            "schema", "`adapter` is missing: the format's version", at, "adapter", advice
        )
    number = version.scalar
    if number == FORMAT_VERSION and type(number) is int:
        return None
    if isinstance(number, int) and not isinstance(number, bool) and number > FORMAT_VERSION:
        message = f"this adapter needs a newer takopi: it has format {number}, this takopi reads {FORMAT_VERSION}"
        return Diagnostic("schema", message, version.span, "adapter", "upgrade takopi")
    advice = f"write `adapter: {FORMAT_VERSION}`"
    return Diagnostic(
        "schema", "unknown version of the adapter format", version.span, "adapter", advice
    )


def _inherit(child: Node, parent: Node) -> Node:
    """The child's keys over the parent's; ``inherit`` in a list stands for the parent's items."""
    entries: list[tuple[Node, Node]] = []
    for key, value in child.entries:
        under = parent.get(str(key.scalar))
        if key.scalar in EXTENDABLE_LISTS and value.kind == "list":
            items: list[Node] = []
            for item in value.items:
                if item.kind == "scalar" and item.scalar == "inherit":
                    items += under.items if under is not None else []
                else:
                    items.append(item)
            value = replace(value, items=items)
        entries.append((key, value))
    own = {key.scalar for key, _ in child.entries}
    entries += [
        (key, value)
        for key, value in parent.entries
        if key.scalar not in own and key.scalar not in NEVER_INHERITED
    ]
    return replace(child, entries=entries)


def _expression_problems(root: Node) -> list[Diagnostic]:
    """Problems of the expressions of a document whose shape is wrong, as far as they can be found."""
    compiler = ExpressionCompiler()
    for key in ("events", "end", "tools", "args"):
        node = root.get(key)
        if node is not None:
            _compile_loosely(compiler, node, (key,))
    return compiler.diagnostics


_EXPRESSION_KEYS = frozenset(
    (
        "if",
        "each",
        "id",
        "title",
        "path",
        "changes",
        "exit_code",
        "ok",
        "detail",
        "answer",
        "error",
        "usage",
    )
)


def _compile_loosely(compiler: ExpressionCompiler, node: Node, path: Path) -> None:
    where = "command" if path[0] == "args" else "event"
    for i, item in enumerate(node.items):
        _compile_loosely(compiler, item, (*path, i))
    for key, value in node.entries:
        name = str(key.scalar)
        below = (*path, name)
        if name in ("set", "append") and value.kind == "map":
            for variable, expression in value.entries:
                compiler.mapping(expression, (*below, str(variable.scalar)), where)
        elif name in _EXPRESSION_KEYS or (name in ("name", "input") and path[-1] == "tool"):
            compiler.mapping(value, below, where)
        elif name != "match":
            _compile_loosely(compiler, value, below)


class _Build:
    """Compiles the parts of one document whose shape is known to be right."""

    def __init__(self, root: Node, spec: AdapterSpec) -> None:
        self.root = root
        self.spec = spec
        self.compiler = ExpressionCompiler()
        self.paths: dict[MatchPath, None] = {}

    def problems(self) -> list[Diagnostic]:
        return self.compiler.diagnostics

    def adapter(self, source: Source) -> Adapter | None:
        root, compiler = self.root, self.compiler
        stdin, end = root.get("stdin"), root.get("end")
        tools = root.get("tools")
        nodes = [(n, ("tools", i)) for i, n in enumerate(tools.items)] if tools is not None else []
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
        table = ToolTable(compile_tools(nodes, compiler), builtin_tools())
        events = root.get("events")
        rules = self._rules(events.items if events is not None else [], ("events",))
        outcome = self._outcome(end, ("end",)) if end is not None and end.kind == "map" else None
        settle = root.get("settle")
        hints = self._hints()
        if has_errors(compiler.diagnostics):
            return None
        return Adapter(
            spec=self.spec,
            file=source.file,
            command=command,
            args=args,
            stdin=payload,
            env=env,
            resume=resume,
            session=session,
            tools=table,
            rules=rules,
            end=outcome,
            settle=compiler.mapping(settle, ("settle",)) if settle is not None else constant(10),
            hints=hints,
            match_paths=tuple(self.paths),
            options_read=checks.options_read(compiler.reads, self.spec),
            expressions=tuple(compiler.compiled),
        )

    # -- command line ------------------------------------------------------------------------

    def _arguments(self, node: Node | None, path: Path) -> tuple[Argument, ...]:
        out = []
        for i, item in enumerate(node.items if node is not None else []):
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

    def _regex_of_line(self, node: Node, path: Path) -> re.Pattern[str] | None:
        try:
            parts = split_template(str(node.scalar))
        except TemplateError:
            return None  # reported when the line was compiled
        found: list[str | None] = []
        for part in parts:
            if isinstance(part, ExpressionPart):
                if part.text != "token":
                    self.compiler.problem(
                        "regex",
                        "a line that computes its token needs a `regex`",
                        node.span_within(part.offset, len(part.text)),
                        path,
                        "write `${token}`, or give `resume.regex`",
                    )
                    return None
                found.append(None)
            else:
                found.append(part)
        if found.count(None) != 1:
            self.compiler.problem(
                "resume-roundtrip",
                "the line must hold `${token}` once",
                node.span,
                path,
                "write the command that reopens a session, such as `acme --resume ${token}`",
            )
            return None
        return build_regex(found)

    def _regex(self, node: Node, path: Path, group: str | None = None) -> re.Pattern[str] | None:
        text = str(node.scalar)
        try:
            pattern = re.compile(text)
        except re.error as error:
            at = error.pos or 0
            self.compiler.problem(
                "regex",
                f"not a regular expression: {error.msg}",
                node.span_within(at, 1),
                path,
                "in YAML, single quotes keep backslashes as they are",
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
        return pattern

    def _session(self) -> SessionPlan | None:
        session = self.root.get("session")
        if session is None or session.kind != "map":
            return None

        def value(key: str) -> Value | None:
            node = session.get(key)
            return self.compiler.mapping(node, ("session", key)) if node is not None else None

        match, text, create = session.get("match"), session.get("text"), session.get("create")
        return SessionPlan(
            match=matcher(self._match(match)) if match is not None else None,
            id=value("id"),
            text=self._regex(text, ("session", "text"), "token") if text is not None else None,
            create=self.compiler.text(create, ("session", "create"), "session.create")
            if create is not None
            else None,
            title=value("title"),
            meta=value("meta"),
            adopt=self.spec.session is not None and self.spec.session.mismatch == "adopt",
        )

    def _hints(self) -> tuple[Hint, ...]:
        hints = self.root.get("hints")
        out = []
        for i, node in enumerate(hints.items if hints is not None else []):
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
            [(r.match, r.condition is not None) for r in rules], nodes, path
        )
        return compile_rules(rules)

    def _rule(self, node: Node, path: Path) -> Rule:
        compiler = self.compiler

        def value(key: str) -> Value | None:
            found = node.get(key)
            return compiler.mapping(found, (*path, key)) if found is not None else None

        match = node.get("match")
        condition = value("if")
        sets, appends = self._variables(node, path, "set"), self._variables(node, path, "append")
        action, complete = node.get("action"), node.get("complete")
        each, below = value("each"), node.get("rules")
        plan = self._action(action, (*path, "action")) if action is not None else None
        reads = [v.reads_state for _, v in (*sets, *appends)]
        reads += [plan.reads_state if plan else False, each.reads_state if each else False]
        return Rule(
            place=Place(node.source.file, node.span.line, format_path(path)),
            match=self._match(match) if match is not None else {},
            condition=condition,
            set=tuple((k, v.evaluate) for k, v in sets),
            append=tuple((k, v.evaluate) for k, v in appends),
            action=plan,
            complete=self._outcome(complete, (*path, "complete")) if complete is not None else None,
            each=each.evaluate if each is not None else None,
            rules=self._rules(below.items, (*path, "rules")) if below is not None else None,
            reads_state=any(reads) or complete is not None,
            inherited=node.source is not self.root.source,
        )

    def _variables(self, node: Node, path: Path, key: str) -> list[tuple[str, Value]]:
        table = node.get(key)
        return [
            (str(k.scalar), self.compiler.mapping(v, (*path, key, str(k.scalar))))
            for k, v in (table.entries if table is not None else [])
        ]

    def _action(self, node: Node, path: Path) -> ActionPlan:
        compiler = self.compiler

        def value(key: str) -> Value | None:
            found = node.get(key)
            return compiler.mapping(found, (*path, key)) if found is not None else None

        def enum(key: str) -> Value | None:
            found = node.get(key)
            return compiler.text(found, (*path, key), "event") if found is not None else None

        tool = node.get("tool")
        name = tool.get("name") if tool is not None else None
        given = tool.get("input") if tool is not None else None
        plan = ActionPlan(
            id=value("id") or NULL,
            phase=enum("phase"),
            kind=enum("kind"),
            title=value("title"),
            tool_name=compiler.mapping(name, (*path, "tool", "name")) if name is not None else None,
            tool_input=compiler.mapping(given, (*path, "tool", "input")),
            changes=value("changes"),
            exit_code=value("exit_code"),
            ok=value("ok"),
            detail=value("detail"),
            reads_state=False,
        )
        parts: list[Any] = [getattr(plan, f) for f in plan.__slots__ if f != "reads_state"]
        plan.reads_state = any(v.reads_state for v in parts if v is not None)
        return plan

    def _outcome(self, node: Node, path: Path) -> OutcomePlan:
        def value(key: str) -> Value | None:
            found = node.get(key)
            return self.compiler.mapping(found, (*path, key)) if found is not None else None

        return OutcomePlan(value("answer"), value("error"), value("usage"), value("ok"))
