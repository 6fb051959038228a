"""The command line as a user has it: a real process with a home of its own."""

import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(sys.executable).parent


def environment(home):
    return {
        "HOME": str(home),
        "PATH": f"{home / 'bin'}:{SCRIPTS}:/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "TERM": "xterm",
    }


def takopi(home, *args, cwd=None, stdin=None, **env):
    """Run it in the home's ``project`` folder, or ``cwd``; nobody sits at a terminal."""
    return subprocess.run(
        [SCRIPTS / "takopi", *args],
        env={**environment(home), **env},
        cwd=cwd or home / "project",
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
