"""Projects: folders on this machine that a message can name, and the chats bound to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProjectConfig:
    """One ``[projects.<alias>]``; ``alias`` as written. Paths are absolute, links not followed."""

    alias: str
    path: Path
    worktrees_dir: Path
    default_engine: str | None = None
    worktree_base: str | None = None
    chat_id: int | str | None = None

    @property
    def worktrees_root(self) -> Path:
        """Where worktrees lie: ``worktrees_dir``, under the project's path unless it is absolute."""
        return self.path / self.worktrees_dir


@dataclass(frozen=True, slots=True)
class ProjectsConfig:
    """All projects by lower-case alias, the default one's key, and chat id -> key."""

    projects: Mapping[str, ProjectConfig] = field(default_factory=dict)
    default_project: str | None = None
    chat_map: Mapping[int | str, str] = field(default_factory=dict)

    def resolve(self, alias: str | None) -> ProjectConfig | None:
        """The project of an alias in any case; without one, the default project."""
        key = alias.lower() if alias is not None else self.default_project
        return self.projects.get(key) if key is not None else None

    def project_for_chat(self, chat_id: int | str | None) -> str | None:
        """The key of the project a chat is bound to."""
        return self.chat_map.get(chat_id) if chat_id is not None else None

    def project_chat_ids(self) -> tuple[int | str, ...]:
        """The chats that are bound to a project."""
        return tuple(self.chat_map)
