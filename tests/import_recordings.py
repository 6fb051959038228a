"""Make fixtures of recorded runs: ``python tests/import_recordings.py SOURCE_DIR ENGINE...``.

``SOURCE_DIR/<engine>/NAME.jsonl`` with ``NAME.meta.json`` beside it becomes
``fixtures/streams/<engine>/<case>/`` with ``stream.jsonl`` and ``meta.json``. Streams are copied byte
for byte, but for giant strings, which are shortened, and for what tells of the recording machine. The
meta keeps what replaying needs and what tells where the stream comes from; ``resume`` is added when
the command line asked for a particular session. Importing again gives the same files; ``events.json``
is not touched (``pytest tests/snapshot --snapshot-update`` writes it).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parent.parent
sys.path.insert(0, str(CHECKOUT))

from tests.oracle.streams import asked_session  # noqa: E402

FIXTURES = CHECKOUT / "fixtures" / "streams"
META_KEYS = ("cli", "package", "version", "argv", "stdin", "exit_code", "stderr", "cwd")

# The same lines as another recording, told apart only by flags that leave no trace in the stream, or
# by nothing but their size.
REDUNDANT = {
    "codex": {
        "argv_and_stdin",
        "argv_prompt",
        "bad_reasoning_effort",
        "code_mode_plan",
        "ephemeral",
        "goal",
        "mcp_broken_server",
        "model_flag_after_exec",
        "v0.77_mcp_broken_server",
    },
    "claude": {"auth_token", "no_session_persistence", "slash_unknown", "stdin_prompt"},
    "opencode": {
        "bad_provider",
        "error_429_retry_ok",
        "error_500_retry_ok",
        "resume_continue",
        "resume_fork",
        "thinking_hidden",
    },
    "pi": {
        "ambiguous_1",
        "ambiguous_2",
        "auto_compact",
        "bad_provider",
        "dash_prompt",
        "long_output",
        "no_session",
        "resume_continue",
        "thinking_off",
        "v0.73_error_500_retry_ok",
        "v0.73_resume_1",
    },
    "copilot": {"dash-prompt"},
    "kimi": {"dash-prompt"},
    "vibe": {"dash-prompt"},
    "qwen": {"dash-prompt"},
}

MAX_STRING = 4_000
KEPT_HEAD, KEPT_TAIL = 2_000, 500

# What names the recording machine, and what stands there instead.
SCRUBBED = (
    (re.compile(r"(?<!\w)/tmp/"), "/home/user/.cache/tmp/"),
    (re.compile(r"/usr/lib/node_modules/"), "/home/user/.npm/lib/node_modules/"),
    (re.compile(r"/cc-socks/\d+\.sock"), "/cc-socks/1000.sock"),
    (re.compile(r"/scratch/claude-\d+/"), "/scratch/claude-1000/"),
)
# What must not be left after that: other homes, addresses, names and keys.
SUSPICIOUS = re.compile(
    r"/home/(?!user\b)\w+|(?<!\w)/(?:root|work|mnt|Users|private|var|tmp)/"
    r"|\b(?!127\.0\.0\.1\b)\d{1,3}(?:\.\d{1,3}){3}\b"
    r"|\b[\w-]+\.(?:local|internal|lan|corp)\b"
    r"|\bsk-[\w-]{8,}|\bBearer\s+\S{8,}|\bgh[pousr]_\w{8,}|\bAIza\w{8,}|\beyJ[\w-]{16,}"
    r"|[\w.+-]+@[\w-]+\.(?:com|org|net|io|dev)\b"
)


def case_id(name: str) -> str:
    """The folder of a recording: ``v2.0_bash_ok`` is ``v2_0_bash_ok``."""
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")


def shorten(value: Any) -> Any:
    """``value`` without giant strings; equal strings stay equal."""
    if isinstance(value, str) and len(value) > MAX_STRING:
        return f"{value[:KEPT_HEAD]} [...] {value[-KEPT_TAIL:]}"
    if isinstance(value, list):
        return [shorten(item) for item in value]
    if isinstance(value, dict):
        return {key: shorten(item) for key, item in value.items()}
    return value


def shorten_line(line: bytes) -> bytes:
    """One line of a stream; byte for byte the same when nothing in it is giant."""
    if len(line) <= MAX_STRING:
        return line
    try:
        value = json.loads(line)
    except ValueError:
        return line
    short = shorten(value)
    if short == value:
        return line
    return json.dumps(short, ensure_ascii=False, separators=(",", ":")).encode()


def scrub(text: str) -> str:
    """``text`` as if it came from the machine of a user named user. Raises ValueError for what it
    cannot make sense of."""
    for pattern, replacement in SCRUBBED:
        text = pattern.sub(replacement, text)
    found = SUSPICIOUS.search(text)
    if found is not None:
        raise ValueError(f"looks private: {found[0]!r}")
    return text


def import_stream(stdout: bytes) -> bytes:
    """A recorded stdout as a fixture keeps it; only ``\\n`` ends a line."""
    short = b"\n".join(shorten_line(line) for line in stdout.split(b"\n"))
    return scrub(short.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def import_meta(engine: str, meta: dict[str, Any]) -> str:
    """The text of ``meta.json``."""
    kept = {key: shorten(meta.get(key)) for key in META_KEYS}
    kept["cli"] = kept["cli"].removesuffix("-nologin")  # a wrapper with an empty home
    kept["argv"] = [kept["cli"], *kept["argv"][1:]]
    resume = asked_session(engine, meta)
    if resume is not None:
        kept["resume"] = resume
    if meta.get("notes"):
        kept["notes"] = meta["notes"]
    return scrub(json.dumps(kept, indent=1, ensure_ascii=False)) + "\n"


def import_engine(source: Path, engine: str) -> int:
    """Write one engine's fixtures; how many there are."""
    streams = sorted((source / engine).glob("*.jsonl"))
    count = 0
    for stream in streams:
        name = stream.stem
        if name in REDUNDANT.get(engine, ()):
            continue
        meta = json.loads(stream.with_name(f"{name}.meta.json").read_text(encoding="utf-8"))
        try:
            texts = import_stream(stream.read_bytes()), import_meta(engine, meta).encode()
        except ValueError as error:
            raise SystemExit(f"{stream}: {error}") from error
        folder = FIXTURES / engine / case_id(name)
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in zip(("stream.jsonl", "meta.json"), texts, strict=True):
            (folder / file).write_bytes(text)
        count += 1
    return count


def main() -> None:
    """Import the recordings of the engines that are named."""
    parser = argparse.ArgumentParser(description="make fixtures of recorded runs")
    parser.add_argument(
        "source", type=Path, help="a folder with one folder of recordings per engine"
    )
    parser.add_argument("engine", nargs="+")
    arguments = parser.parse_args()
    for engine in arguments.engine:
        print(f"{engine}: {import_engine(arguments.source, engine)} fixtures")


if __name__ == "__main__":
    main()
