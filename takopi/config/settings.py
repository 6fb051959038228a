"""The schema of takopi.toml: what may stand in it, of which type, with which default."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from takopi.config.positions import KeyPath
from takopi.config.projects import ProjectConfig, ProjectsConfig
from takopi.config.report import dotted, read_source
from takopi.diagnostics import did_you_mean
from takopi.errors import ConfigError
from takopi.ids import RESERVED_CHAT_IDS

MAIN_TRANSPORT = "telegram"
_NUMBER = re.compile(r"[+-]?[0-9]{1,30}\Z")


def _chat_id(value: object, info: ValidationInfo) -> object:
    """An integer of an integer or a numeric string; other chats than ours may name theirs freely."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        text = value.strip()
        if _NUMBER.match(text):
            return int(text)
        if text and (info.context or {}).get("named_chats"):
            return text
    raise PydanticCustomError("takopi", "expected an integer")


NonEmpty = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
ChatId = Annotated[int, BeforeValidator(_chat_id)]
ProjectChatId = Annotated[int | str, BeforeValidator(_chat_id)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Table(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", str_strip_whitespace=True, hide_input_in_errors=True
    )


class _OpenTable(_Table):
    model_config = ConfigDict(extra="allow")

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        # Tables without a schema may hold anybody's secrets.
        return [pair for pair in super().__repr_args__() if pair[0] in type(self).model_fields]

    def own_table(self, key: str, label: str, path: Path) -> dict[str, Any]:
        """A copy of a table that the schema does not know, ``{}`` if absent."""
        value = (self.model_extra or {}).get(key)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise ConfigError(f"Invalid {label} in {path}; expected a table.")
        return copy.deepcopy(dict(value))


class TopicsSettings(_Table):
    """``[transports.telegram.topics]``: a topic of the chat per project and branch."""

    enabled: bool = False
    scope: Literal["auto", "main", "projects", "all"] = "auto"


class FilesSettings(_Table):
    """``[transports.telegram.files]``: files sent to and fetched from a project."""

    enabled: bool = False
    auto_put: bool = True
    auto_put_mode: Literal["upload", "prompt"] = "upload"
    uploads_dir: NonEmpty = "incoming"
    allowed_user_ids: list[StrictInt] = []
    deny_globs: list[NonEmpty] = [".git/**", ".env", ".envrc", "*.pem", ".ssh/**"]

    @field_validator("uploads_dir")
    @classmethod
    def _relative(cls, value: str) -> str:
        if os.path.isabs(os.path.expanduser(value)):
            raise PydanticCustomError("takopi", "files.uploads_dir must be a relative path")
        return value


class TelegramSettings(_Table):
    """``[transports.telegram]``."""

    bot_token: NonEmpty = Field(repr=False)
    chat_id: ChatId
    api_url: NonEmpty = "https://api.telegram.org"
    allowed_user_ids: list[StrictInt] = []
    message_overflow: Literal["trim", "split"] = "trim"
    voice_transcription: bool = False
    voice_max_bytes: StrictInt = 10 * 1024 * 1024
    voice_transcription_model: NonEmpty = "gpt-4o-mini-transcribe"
    voice_transcription_base_url: NonEmpty | None = None
    voice_transcription_api_key: NonEmpty | None = Field(None, repr=False)
    session_mode: Literal["stateless", "chat"] = "stateless"
    show_resume_line: bool = True
    forward_coalesce_s: Seconds = 1.0
    media_group_debounce_s: Seconds = 1.0
    topics: TopicsSettings = TopicsSettings()
    files: FilesSettings = FilesSettings()


class TransportsSettings(_OpenTable):
    """``[transports]``: one table per chat; what another chat's table holds is its own affair."""

    telegram: TelegramSettings | None = None


class ProjectSettings(_Table):
    """``[projects.<alias>]``, as written."""

    path: NonEmpty
    worktrees_dir: NonEmpty = ".worktrees"
    default_engine: NonEmpty | None = None
    worktree_base: NonEmpty | None = None
    chat_id: ProjectChatId | None = None


class PluginsSettings(_OpenTable):
    """``[plugins]``: the packages that may add something (none named: all), and plugins' tables."""

    enabled: list[NonEmpty] = []


class AdaptersSettings(_Table):
    """``[adapters]``: files and folders of adapters, relative to the configuration's folder."""

    paths: list[NonEmpty] = []


class Settings(_OpenTable):
    """The whole configuration. Keys that it does not have are engines' tables."""

    watch_config: bool = False
    default_engine: NonEmpty | None = None
    default_project: NonEmpty | None = None
    transport: NonEmpty = MAIN_TRANSPORT
    adapters: AdaptersSettings = AdaptersSettings()
    plugins: PluginsSettings = PluginsSettings()
    projects: dict[str, ProjectSettings] = {}
    transports: TransportsSettings = TransportsSettings()

    @model_validator(mode="before")
    @classmethod
    def _no_legacy_keys(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and ("bot_token" in data or "chat_id" in data):
            raise PydanticCustomError(
                "takopi",
                "Move bot_token/chat_id under [transports.telegram] "
                'and set transport = "telegram".',
            )
        return data

    def engine_config(self, engine_id: str, *, config_path: Path) -> dict[str, Any]:
        """A copy of the ``[engine_id]`` table, ``{}`` if absent. Raises `ConfigError`."""
        return self.own_table(engine_id, f"`{engine_id}` config", config_path)

    def transport_config(
        self, transport_id: str, *, config_path: Path
    ) -> TelegramSettings | dict[str, Any]:
        """What a chat is configured with: its settings object, for one without a schema a dict.

        Raises `ConfigError` for a value that is no table and for a missing ``[transports.telegram]``.
        """
        if transport_id == MAIN_TRANSPORT:
            if self.transports.telegram is None:
                raise ConfigError(f"Missing [transports.telegram] in {config_path}.")
            return self.transports.telegram
        return self.transports.own_table(transport_id, f"`transports.{transport_id}`", config_path)

    def plugin_config(self, plugin_id: str, *, config_path: Path) -> dict[str, Any]:
        """A copy of the ``[plugins.plugin_id]`` table, ``{}`` if absent. Raises `ConfigError`."""
        return self.plugins.own_table(plugin_id, f"`plugins.{plugin_id}`", config_path)

    def to_projects_config(
        self,
        *,
        config_path: Path,
        engine_ids: Iterable[str],
        reserved: Iterable[str] = RESERVED_CHAT_IDS,
    ) -> ProjectsConfig:
        """The projects with absolute paths. Raises `ConfigError` for what cannot be told apart."""
        engines = {engine.lower(): engine for engine in engine_ids}
        taken = {*engines, *(word.lower() for word in reserved)}
        projects: dict[str, ProjectConfig] = {}
        chat_map: dict[int | str, str] = {}
        for alias, table in self.projects.items():
            key = alias.lower()
            if key in taken:
                reason = f"Invalid project alias '{alias}' in {config_path}; aliases must not match engine ids or reserved commands."
                raise _error(config_path, ("projects", alias), reason)
            if key in projects:
                reason = f"Duplicate project alias '{alias}' in {config_path}."
                raise _error(config_path, ("projects", alias), reason)
            self._bind_chat(alias, table.chat_id, chat_map, config_path)
            projects[key] = ProjectConfig(
                alias=alias,
                path=config_path.parent / os.path.expanduser(table.path),
                worktrees_dir=Path(os.path.expanduser(table.worktrees_dir)),
                default_engine=_engine(alias, table.default_engine, engines, config_path),
                worktree_base=table.worktree_base,
                chat_id=table.chat_id,
            )
        return ProjectsConfig(projects, self._default_project(projects, config_path), chat_map)

    def _bind_chat(
        self, alias: str, chat_id: int | str | None, chat_map: dict[int | str, str], path: Path
    ) -> None:
        if chat_id is None:
            return
        telegram, where = self.transports.telegram, ("projects", alias, "chat_id")
        if telegram is not None and chat_id == telegram.chat_id:
            reason = (
                f"Invalid `{dotted(where)}` in {path}; must not match transports.telegram.chat_id."
            )
            raise _error(path, where, reason)
        if chat_id in chat_map:
            reason = f"Duplicate `projects.*.chat_id` {chat_id} in {path}; already used by '{chat_map[chat_id]}'."
            raise _error(path, where, reason)
        chat_map[chat_id] = alias.lower()

    def _default_project(self, projects: Mapping[str, ProjectConfig], path: Path) -> str | None:
        if self.default_project is None:
            return None
        key = self.default_project.lower()
        if key not in projects:
            reason = f"Invalid `default_project` '{self.default_project}' in {path}; no matching project alias found."
            advice = did_you_mean(key, [project.alias for project in projects.values()])
            raise _error(path, ("default_project",), reason, advice)
        return key


def _engine(
    alias: str, wanted: str | None, engines: Mapping[str, str], config_path: Path
) -> str | None:
    if wanted is None:
        return None
    found = engines.get(wanted.lower())
    if found is None:
        where = ("projects", alias, "default_engine")
        available = ", ".join(sorted(engines.values()))
        reason = f"Unknown `{dotted(where)}` '{wanted}' in {config_path}. Available: {available}."
        raise _error(config_path, where, reason, did_you_mean(wanted, engines.values()))
    return found


def _error(path: Path, key: KeyPath, reason: str, help: str | None = None) -> ConfigError:
    return ConfigError(reason, [read_source(path).problem(key, reason, help=help)])


# What the schema says about a key path, for those who have no value to validate.


def model_at(path: KeyPath) -> type[BaseModel] | None:
    """The model of the table at a key path; None for a value, or a table without a schema."""
    model: type[BaseModel] | None = Settings
    parts = iter(path)
    for part in parts:
        field = model.model_fields.get(str(part)) if model is not None else None
        if field is None:
            return None
        model = _model_in(field.annotation)
        if get_origin(field.annotation) is dict and next(parts, None) is None:
            return None
    return model


def kind_at(path: KeyPath) -> Literal["table", "list", "integer", "text"] | None:
    """How the value at a key path is written in an environment variable; None: not in the schema."""
    parent = model_at(path[:-1])
    field = parent.model_fields.get(str(path[-1])) if parent is not None else None
    if field is None:
        return "table" if model_at(path) is not None else None
    if _model_in(field.annotation) is not None:
        return "table"
    if get_origin(field.annotation) is list:
        return "list"
    return "integer" if field.annotation is int else "text"


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation is, may be (``X | None``), or maps to (``dict[str, X]``)."""
    for option in (annotation, *get_args(annotation)):
        if isinstance(option, type) and issubclass(option, BaseModel):
            return option
    return None
