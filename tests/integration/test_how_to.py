"""docs/how-to/add-an-engine.md does what it says: its adapter, its stream, its commands."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/how-to/add-an-engine.md").read_text(encoding="utf-8")
SCRIPTS = Path(sys.executable).parent


def block(language, containing):
    """The page's code block in a language that holds a text."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.S | re.M)
    return next(body for name, body in blocks if name == language and containing in body)


def test_the_page_as_a_user_follows_it(tmp_path):
    adapter = block("yaml", "id: acme")
    assert len([line for line in adapter.splitlines() if line.strip()]) < 40
    folder = tmp_path / ".takopi/adapters"
    folder.mkdir(parents=True)
    (folder / "acme.yaml").write_text(adapter)
    stream = block("json", '"session"')
    (tmp_path / "list.jsonl").write_text(stream)
    script = tmp_path / "bin/acme"
    script.parent.mkdir()
    script.write_text(f"#!/bin/sh\ncat {tmp_path}/list.jsonl\n")
    script.chmod(0o755)

    def takopi(*args):
        return subprocess.run(
            [SCRIPTS / "takopi", *args],
            cwd=tmp_path,
            env={
                "HOME": str(tmp_path),
                "PATH": f"{script.parent}:/usr/bin:/bin",
                "LANG": "C.UTF-8",
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    validated = takopi("adapters", "validate", "acme")
    assert (validated.stdout, validated.returncode) == ("acme: ok\n", 0)
    expected = block("", "starting · acme").strip()
    replayed = takopi("adapters", "replay", "acme", "list.jsonl")
    assert replayed.stderr.strip() == expected.rsplit("\n\n", 1)[1]
    assert "was null" not in replayed.stderr
    done = takopi("run", "acme", "List the files.")
    assert done.returncode == 0
    assert done.stdout == "There are two entries: `README.md` and `src`.\n"
    said = re.sub(r" \d+s ", " 2s ", done.stderr)
    assert said.replace("\n\nresume", f"\n{done.stdout}\nresume").strip() == expected
    resumed = takopi("run", "acme", "--resume", "s-81f3", "And how many lines has the README?")
    assert resumed.returncode == 0
    line = expected.rsplit("\n", 1)[1]
    assert takopi("run", "acme", "--resume", line, "more").returncode == 0


def test_every_path_and_command_the_documents_name_exists():
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"
    commands = subprocess.run(
        [SCRIPTS / "takopi", "adapters", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for command in re.findall(r"takopi adapters ([a-z]+)", PAGE):
        assert re.search(rf"^ +{command} ", commands, re.M), command
