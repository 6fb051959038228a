"""What first words mean in Telegram, and what is said where a command has nothing to do. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from takopi.bridge.intent import parse_intent
from takopi.bridge.runtime import RuntimeSpec
from takopi.bridge.vocabulary import Help, Inbound, Intent, Unusable, Words
from takopi.ids import RESERVED_COMMAND_IDS
from takopi.telegram.mentions import parse_command

NOTHING_TO_CLEAR = "nothing to clear: sessions are not stored in stateless mode."
NO_SESSIONS = "no stored sessions to clear for this chat."

# What the menu and `/help` say of each command; `/start` is what a client's button sends.
COMMANDS = {
    "new": "start a new thread",
    "cancel": "cancel run",
    "help": "what can be said here",
}
_HELP_WORDS = ("help", "start")

# Where a reserved word belongs, if not into a chat.
_IN_TERMINAL = frozenset({"config", "doctor", "init", "plugins"})


def words_of(spec: RuntimeSpec, plugins: Sequence[str]) -> Words:
    """What first words mean with this configuration."""
    engines = (engine.lower() for engine in spec.router.engine_ids)
    return Words(
        commands=COMMANDS,
        directives=frozenset((*engines, *spec.projects.projects)),
        plugins=frozenset(plugins),
        taken=RESERVED_COMMAND_IDS - COMMANDS.keys(),
    )


def intent_of(inbound: Inbound, words: Words) -> Intent:
    """What a message asks for. What is not a command here stays a prompt: engines have their own."""
    command = parse_command(inbound.text)
    known = words.directives | words.plugins
    if command is not None and command.name in _HELP_WORDS and command.name not in known:
        return Help(inbound)
    return parse_intent(inbound, words)


def is_unknown(text: str, words: Words) -> bool:
    """Whether a message begins with a command that nobody knows."""
    command = parse_command(text)
    known = words.commands.keys() | words.directives | words.plugins | words.taken
    return command is not None and command.name not in {*known, *_HELP_WORDS}


def refusal(unusable: Unusable) -> str:
    """What is said about a reserved word, which never becomes a prompt."""
    word = unusable.word
    if word in _IN_TERMINAL:
        return f"`/{word}` is no command of the chat; run `takopi {word}` on the computer."
    return f"`/{word}` is not there yet."


def cleared(*, in_private: bool) -> str:
    """What is said once the sessions of a chat were forgotten."""
    return f"cleared stored sessions for {'' if in_private else 'you in '}this chat."


def help_text(
    spec: RuntimeSpec, words: Words, *, engine: str, project: str | None, mode: str
) -> str:
    """The commands that work here, and what a plain message runs."""
    available = ", ".join(f"`/{entry.engine}`" for entry in spec.router.available_entries)
    lines = [f"- `/{word}`: {text}" for word, text in words.commands.items()]
    lines += [
        "- reply to a message of a run to go on with its session",
        f"- engines: {available or 'none'}",
    ]
    if spec.projects.projects:
        aliases = ", ".join(f"`/{project.alias}`" for project in spec.projects.projects.values())
        lines.append(f"- projects: {aliases}, and `@branch` of one")
    if words.plugins:
        lines.append("- plugins: " + ", ".join(f"`/{each}`" for each in sorted(words.plugins)))
    lines.append(f"- mode: `{mode}`")
    where = f" in project `{project}`" if project else ""
    return "\n".join([*lines, "", f"a plain message goes to `{engine}`{where}."])
