"""The command line as a user has it: a real process with a home of its own."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
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


def in_terminal(home, answers, *args, columns=80, **env):
    """Run it in a terminal and answer each question in turn; the exit code and what was shown."""
    pid, master = pty.fork()
    if pid == 0:
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        os.chdir(home / "project")
        os.execve(SCRIPTS / "takopi", ["takopi", *args], {**environment(home), **env})
    shown = b""
    try:
        for question, answer in answers:
            while question not in shown:
                shown += _read(master, pid)
            # A prompt that hides what is typed forgets what was typed before it.
            time.sleep(0.3)
            os.write(master, answer)
        while chunk := _read(master, pid):
            shown += chunk
    except OSError:  # how a terminal says that nobody is left
        pass
    os.close(master)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode("utf-8", "replace")


def _read(master, pid):
    """What is shown next; a program that says nothing for long is ended."""
    if not select.select([master], [], [], 60)[0]:
        os.kill(pid, signal.SIGKILL)
    return os.read(master, 4096)
