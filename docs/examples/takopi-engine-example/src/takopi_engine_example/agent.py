"""``tally-agent``: counts the words of a prompt and remembers the sum of a session.

::

    tally-agent --json [--model NAME] [--resume SESSION] < PROMPT

It prints JSON lines, as coding agents do. Sessions are files in ``$XDG_STATE_HOME/tally-agent``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import uuid
from pathlib import Path


def main() -> int:
    """Answer the prompt on stdin; exit code 2 for a session that does not exist."""
    parser = argparse.ArgumentParser("tally-agent")
    parser.add_argument("--json", action="store_true", required=True)
    parser.add_argument("--model", default="tally-1")
    parser.add_argument("--resume")
    options = parser.parse_args()
    session = options.resume or uuid.uuid4().hex[:12]
    file = _folder() / f"{session}.json"
    if options.resume is not None and not (session.isalnum() and file.exists()):
        print(f"tally-agent: there is no session `{session}`", file=sys.stderr)
        return 2
    before = json.loads(file.read_text(encoding="utf-8")) if options.resume else 0

    _say(event="session", id=session, model=options.model)
    prompt = sys.stdin.buffer.read().decode("utf-8", "replace")
    _say(event="tool", id="t1", name="count words")
    words = len(prompt.split())
    _say(event="tool_done", id="t1", ok=True, result=f"{words} words")
    file.write_text(json.dumps(before + words), encoding="utf-8")
    _say(event="reply", text=f"{words} words, {before + words} in this session.")
    _say(event="end", status="ok")
    return 0


def _folder() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    folder = Path(state) / "tally-agent"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    sys.exit(main())
