"""The shape of an adapter file, as pydantic models.

The field descriptions are the documentation: they go into ``schemas/adapter.schema.json``, which
editors show. The models check shape only; `compile` checks what the values mean.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from takopi.ids import ID_PATTERN
from takopi.model import ActionKind, ActionPhase

FORMAT_VERSION = 1

Text: TypeAlias = Annotated[str, StringConstraints(strict=True)]
NonEmpty: TypeAlias = Annotated[str, StringConstraints(strict=True, min_length=1)]
Flag: TypeAlias = Annotated[bool, Field(strict=True)]
Number: TypeAlias = Annotated[int, Field(strict=True)] | Annotated[float, Field(strict=True)]
Seconds: TypeAlias = (
    Annotated[int, Field(strict=True, ge=0)] | Annotated[float, Field(strict=True, ge=0)]
)
Literal_: TypeAlias = Text | Flag | Number | None
OPTION_PATTERN = r"^[a-z][a-z0-9_]*$"
PATH_PATTERN = r"^[^.]+(\.[^.]+)*$"
MatchSpec: TypeAlias = dict[
    Annotated[str, StringConstraints(pattern=PATH_PATTERN)],
    Literal_ | Annotated[list[Literal_], Field(min_length=1)],
]

# A JMESPath expression, a template (a text with `${ EXPR }`), a constant, or a mapping or list of them.
EXPRESSION_TYPES = ["string", "number", "boolean", "null", "object", "array"]
Expr: TypeAlias = Annotated[Any, WithJsonSchema({"type": EXPRESSION_TYPES})]


class KeyProblem(ValueError):
    """Keys that do not go together; ``key`` is where to point."""

    def __init__(self, key: str, message: str, help: str) -> None:
        super().__init__(message)
        self.key = key
        self.help = help


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=False)


class Condition(Model):
    """Arguments that are there only when `if` is true."""

    if_: Expr = Field(
        alias="if", description='JMESPath; false, null, "", [] and {} are false, 0 is true'
    )
    then: list[Arg] = Field(description="the arguments to add")


Arg: TypeAlias = Text | Number | Condition


class OptionSpec(Model):
    """One key that `[<engine>]` in takopi.toml may hold."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"required": ["items"]},
            "then": {"properties": {"type": {"const": "list"}}},
        }
    )

    type: Literal["string", "boolean", "integer", "number", "list", "table"] = Field(
        description="string, boolean, integer, number, list or table"
    )
    items: Literal["string", "boolean", "integer", "number"] | None = Field(
        None, description="type of a list's items (default: string)"
    )
    default: Any = Field(None, description="the value when the user gives none, as it is")
    choices: list[Literal_] | None = Field(None, min_length=1, description="the values allowed")
    forbid: list[NonEmpty] | None = Field(
        None,
        description="values (of a list: items) that are refused; `prefix*` matches a beginning",
    )
    description: Text | None = Field(None, description="for people")

    @model_validator(mode="after")
    def _consistent(self) -> OptionSpec:
        if self.items is not None and self.type != "list":
            advice = "write `type: list`, or delete `items`"
            raise KeyProblem("items", "`items` is for options of type `list`", advice)
        return self


class EnvSpec(Model):
    """Changes to the engine's environment. A null value leaves the variable alone."""

    set: dict[NonEmpty, Text | Number | None] = Field({}, description="variables set always")
    default: dict[NonEmpty, Text | Number | None] = Field(
        {}, description="variables set only if unset"
    )
    unset: list[NonEmpty] = Field(
        [], description="variables removed; `${ EXPR }` may give a name or null"
    )


class ResumeSpec(Model):
    """How a session is written in chat and in a terminal."""

    line: NonEmpty = Field(
        description="what a user pastes into a terminal; `${token}` is the session's token"
    )
    regex: NonEmpty | None = Field(
        None,
        description="Python regular expression with a group `token`; absent: built from `line`",
    )


class SessionSpec(Model):
    """Where the stream tells its session id."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [{"required": [key]} for key in ("id", "text", "create")],
            "not": {"required": ["id", "text"]},
        }
    )

    match: MatchSpec | None = Field(
        None, min_length=1, description="which lines may give the session; absent: any line"
    )
    id: Expr = Field(None, description="expression for the session id")
    text: NonEmpty | None = Field(
        None,
        description="instead of `id`: regular expression with a group `token`, searched in non-JSON lines of stdout and stderr",
    )
    create: NonEmpty | None = Field(
        None,
        description="a token for a new session, for CLIs that take a self-chosen id; args read run().session",
    )
    title: Expr = Field(None, description="expression for the session's title")
    meta: Expr = Field(None, description="more facts about the session, a mapping")
    mismatch: Literal["error", "adopt"] = Field(
        "error", description="what a session id other than the one asked for means"
    )

    @model_validator(mode="after")
    def _one_source(self) -> SessionSpec:
        if self.id is not None and self.text is not None:
            raise KeyProblem("text", "`text` stands instead of `id`", "keep one of the two")
        if self.id is None and self.text is None and self.create is None:
            message = "nothing says where the session comes from"
            raise KeyProblem("", message, "write `id`, `text` or `create`")
        return self


class ToolCall(Model):
    """A tool call, turned into kind and title by the tool table."""

    name: Expr = Field(description="expression for the tool's name")
    input: Expr = Field(None, description="expression for the tool's input, an object")


class ToolSpec(Model):
    """How calls of some tools look. What an entry leaves out is taken from the built-in table."""

    name: NonEmpty | Annotated[list[NonEmpty], Field(min_length=1)] = Field(
        description="tool names, compared without case; `mcp__*` matches a beginning"
    )
    kind: ActionKind | None = Field(None, description="the action's kind")
    title: Expr = Field(None, description="expression over `name` and `input`")
    path: Expr = Field(None, description="expression for the changed path, or a list of paths")


class ActionSpec(Model):
    """A step to show."""

    id: Expr = Field(None, description="what joins a start and its end; absent: a fresh one")
    phase: ActionPhase | Annotated[str, StringConstraints(pattern=r"\$\{")] | None = Field(
        None,
        description="default: completed when `ok` or `exit_code` is given or there is no `id`, else started",
    )
    kind: ActionKind | Annotated[str, StringConstraints(pattern=r"\$\{")] | None = Field(
        None, description="the action's kind; default: from the tool table or the earlier phase"
    )
    title: Expr = Field(
        None, description="default: the changed paths, else the tool's name, else the kind"
    )
    tool: ToolCall | None = Field(None, description="the tool called")
    changes: Expr = Field(
        None, description="list of {path, kind}, kind being add, update or delete"
    )
    exit_code: Expr = Field(
        None, description="goes to `detail`; other than 0 makes the action not ok"
    )
    ok: Expr = Field(
        None, description="counts only when completed; default true, false for warnings"
    )
    detail: Expr = Field(None, description="more facts, a mapping")


class OutcomeSpec(Model):
    """The end of a run. What is left out is the state variable of that name."""

    answer: Expr = Field(None, description="the final answer; default: state().answer")
    error: Expr = Field(
        None, description="why it failed, false if it did not; default: state().error"
    )
    usage: Expr = Field(
        None,
        description="input_tokens, output_tokens, cached_tokens, reasoning_tokens, cost_usd, duration_ms, turns and others; default: state().usage",
    )
    ok: Expr = Field(None, description="default: whether there is no error")


class Rule(Model):
    """What one kind of line means. The first rule that matches is the only one that acts."""

    model_config = ConfigDict(
        json_schema_extra={"dependentRequired": {"each": ["rules"], "rules": ["each"]}}
    )

    match: MatchSpec = Field(
        min_length=1,
        description="dotted paths and the literal, or list of literals, each must equal",
    )
    if_: Expr = Field(None, alias="if", description="a further condition")
    set: dict[NonEmpty, Expr] | None = Field(
        None, min_length=1, description="state variables to set"
    )
    append: dict[NonEmpty, Expr] | None = Field(
        None, min_length=1, description="text to add to state variables"
    )
    action: ActionSpec | None = Field(None, description="a step to show")
    complete: OutcomeSpec | None = Field(None, description="the line that closes a run")
    each: Expr = Field(None, description="a list whose items are tried against `rules`")
    rules: list[Rule] | None = Field(
        None, min_length=1, description="rules for the items of `each`"
    )

    @model_validator(mode="after")
    def _each_has_rules(self) -> Rule:
        if self.each is None and self.rules is not None:
            raise KeyProblem(
                "rules", "`rules` without `each`", "say with `each` whose items they are for"
            )
        if self.each is not None and self.rules is None:
            raise KeyProblem(
                "each", "`each` without `rules`", "say with `rules` what its items mean"
            )
        return self


class Hint(Model):
    """Advice appended to a failed run's error."""

    match: NonEmpty = Field(
        description="regular expression searched in the error, the end of stderr and non-JSON output"
    )
    say: NonEmpty = Field(description="the advice")


class LoginSpec(Model):
    """A command of the CLI that tells whether somebody is logged in, without network or cost."""

    args: list[Text] = Field(
        min_length=1, description="arguments; exit code 0: logged in, any other: not"
    )
    say: NonEmpty = Field(description="what to do when not")


class AdapterSpec(Model):
    """Everything takopi knows about one engine's command line and its JSON-lines stream."""

    model_config = ConfigDict(
        json_schema_extra={
            "dependentSchemas": {
                "resume": {
                    "anyOf": [
                        {"properties": {"resume": {"type": "null"}}},
                        {
                            "not": {
                                "properties": {"session": {"type": "null"}},
                                "required": ["session"],
                            }
                        },
                    ]
                }
            }
        }
    )

    adapter: Literal[1] = Field(description="format version")
    id: Annotated[str, StringConstraints(strict=True, pattern=ID_PATTERN)] = Field(
        description="engine id, equal to the file's stem"
    )
    name: NonEmpty | None = Field(None, description="for people; default: the id")
    description: NonEmpty | None = Field(None, description="one line for people")
    homepage: NonEmpty | None = Field(None, description="where to read more")
    install: NonEmpty | None = Field(None, description="the command that installs the CLI")
    tested: NonEmpty | None = Field(
        None, description="CLI version of the fixtures, or `documented`; quote it"
    )
    extends: NonEmpty | None = Field(
        None,
        description="another adapter's id, for wrappers and forks; keys given here replace the parent's",
    )
    command: NonEmpty = Field(
        description="executable, looked up on PATH, then beside takopi's own scripts"
    )
    version_args: list[Text] = Field(
        ["--version"], description="arguments that print the CLI's version"
    )
    login: LoginSpec | None = Field(None, description="how `takopi doctor` asks for the login")
    options: dict[Annotated[str, StringConstraints(pattern=OPTION_PATTERN)], OptionSpec] = Field(
        {}, description="what `[<id>]` in takopi.toml may hold"
    )
    args: list[Arg] = Field(
        description="arguments; `${ EXPR }` that gives a list is spliced, null drops the argument"
    )
    stdin: Text | None = Field(None, description="payload written to stdin, which is then closed")
    env: EnvSpec = Field(EnvSpec(), description="changes to the environment")
    resume: ResumeSpec | None = Field(description="the resume line; null: the CLI cannot resume")
    session: SessionSpec | None = Field(
        description="where the session id comes from; null only with `resume: null`"
    )
    tools: list[ToolSpec] = Field([], description="tool names this engine shows differently")
    events: list[Rule] = Field(
        min_length=1, description="rules, tried in order; the first match wins"
    )
    end: OutcomeSpec | None = Field(
        None, description="the end of the output closes a run (CLIs without a closing line)"
    )
    settle: Seconds | Text = Field(
        10,
        description="seconds a CLI may linger after an outcome that is still its last line; number or expression",
    )
    quiet: Seconds = Field(
        120, description="seconds of silence after which a run is shown as quiet"
    )
    hints: list[Hint] = Field([], description="advice for known failures")
    non_json: Literal["warn", "ignore"] = Field(
        "warn", description="what a line that is no JSON object means"
    )

    @model_validator(mode="after")
    def _session_unless_no_resume(self) -> AdapterSpec:
        if self.session is None and self.resume is not None:
            advice = "write where the session id comes from, or `resume: null`"
            raise KeyProblem("session", "`session` may be null only with `resume: null`", advice)
        return self


NEVER_INHERITED = (
    "id",
    "name",
    "description",
    "homepage",
    "install",
    "tested",
    "resume",
    "extends",
)
EXTENDABLE_LISTS = ("events", "tools", "hints")
