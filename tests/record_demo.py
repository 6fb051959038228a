"""Record the demo engine's fixtures by really running it: ``python tests/record_demo.py [--check]``.

Every case runs ``takopi-demo`` in a fresh copy of a small project. What differs from run to run is
replaced: the temporary directory by ``/home/user``, the session's id by ``TOKEN``, the milliseconds
by 7. So recording twice gives the same files; ``--check`` only compares and exits with 1 if a
committed fixture is stale.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

FIXTURES = Path(__file__).parent.parent / "fixtures" / "streams" / "demo"
HOME = "/home/user"
TOKEN = "demo-k3v9x0q2ma"
PROJECT = {
    "README.md": b"# Notes\n\nA small tool that keeps notes\nin a text file.\n\n## Use\n\n    notes add 'Buy milk'\n",
    "src/notes.py": b'"""Keep notes."""\n\nfrom store import save\n\n\ndef add(text):\n    save(text.strip())  # TODO: refuse an empty note\n',
    "src/store.py": b'FILE = "notes.txt"\n\n\ndef save(line):\n    # TODO: lock the file\n    with open(FILE, "a") as file:\n        file.write(line + "\\n")\n',
    "tests/test_notes.py": b"from notes import add\n\n\ndef test_add():\n    add('x')  # TODO: look into the file\n",
    "docs/alt.txt": "Notizen f\u00fcr sp\u00e4ter\n".encode("latin-1"),
}


class Case(NamedTuple):
    """A fixture: the prompt, and the prompts asked before it in the same session."""

    prompt: str
    before: tuple[str, ...] = ()
    session: str = ""


CASES = {
    "list": Case("list files"),
    "count": Case("How many lines of Python are there?"),
    "search": Case("search for TODO"),
    "search-folder": Case("search for TODO in src"),
    "definition": Case("where is save defined?"),
    "read": Case("read README.md"),
    "read-missing": Case("read src/note.py"),
    "read-outside": Case("read ../secret.txt"),
    "read-latin-1": Case("show docs/alt.txt"),
    "summary": Case("What is this project?"),
    "follow-up": Case("and in tests?", before=("search for TODO",)),
    "unknown-prompt": Case("Write me a poem about the sea"),
    "wait": Case("sleep 1.2"),
    "fail": Case("fail"),
    "crash": Case("crash"),
    "unknown-session": Case("list files", session="demo-gone000000"),
}


def record(case: Case) -> tuple[str, str]:
    """The texts of ``stream.jsonl`` and ``meta.json`` of one case."""
    with tempfile.TemporaryDirectory() as folder:
        home = os.path.realpath(folder)
        for name, content in PROJECT.items():
            path = Path(home, "project", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        session = case.session
        for prompt in case.before:
            first = _run(home, prompt, session).stdout.split("\n", 1)[0]
            session = json.loads(first)["id"]
        done = _run(home, case.prompt, session)
        begun = re.search(r'"id":"(demo-\w{10})"', done.stdout)
        token = begun[1] if begun else session

        def settled(text: str) -> str:
            text = text.replace(home, HOME).replace(token or "\0", case.session or TOKEN)
            return re.sub(r'"ms":\d+', '"ms":7', text)

        meta: dict[str, object] = {
            "cli": "takopi-demo",
            "version": _version(),
            "argv": ["takopi-demo", *map(settled, _arguments(case.prompt, session))],
            "stdin": None,
            "exit_code": done.returncode,
            "stderr": settled(done.stderr),
            "cwd": f"{HOME}/project",
        }
        if session:
            meta["resume"] = settled(session)
        return settled(done.stdout), json.dumps(meta, indent=1, ensure_ascii=False) + "\n"


def _arguments(prompt: str, session: str) -> list[str]:
    return ["ask", "--json", *([f"--session={session}"] if session else []), "--", prompt]


def _run(home: str, prompt: str, session: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "takopi.demo", *_arguments(prompt, session)],
        cwd=f"{home}/project",
        env={**os.environ, "TAKOPI_DEMO_HOME": f"{home}/sessions", "TAKOPI_DEMO_DELAY": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def _version() -> str:
    from takopi.demo import VERSION

    return VERSION


def main() -> int:
    """Write the fixtures, or with ``--check`` compare them; the exit code."""
    parser = argparse.ArgumentParser(description="record the demo engine's fixtures")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check = parser.parse_args().check
    stale = 0
    for name, case in CASES.items():
        for file, text in zip(("stream.jsonl", "meta.json"), record(case), strict=True):
            path = FIXTURES / name / file
            old = path.read_text(encoding="utf-8") if path.exists() else ""
            if old == text and path.exists():
                continue
            stale += 1
            if check:
                lines = difflib.unified_diff(old.splitlines(), text.splitlines(), str(path), "now")
                print("\n".join(lines) or f"{path} is missing")
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
    print(f"{stale} {'stale' if check else 'written'}", file=sys.stderr)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
