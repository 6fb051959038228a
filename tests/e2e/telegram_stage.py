"""A stage for the bot: the real `takopi` process, an engine that does as its prompt says, a fake server.

Prompts are lists of words, separated by `;`: `say TEXT` (the answer), `step TEXT`, `sleep SECONDS`,
`wait FILE` (until it exists), `crash`, `hang` (silent, and deaf to SIGTERM), `late` (the session comes
only now). ``runs`` says which prompts were really run.
"""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress

from tests.support.command_line import SCRIPTS, environment, takopi

ENGINE = """\
#!{python}
import json, os, signal, sys, time
from pathlib import Path
session, prompt = sys.argv[1].removeprefix("--session=") if sys.argv[2:] else "-", sys.argv[-1]
if prompt == "--version":
    sys.exit("1.2.3")
home = Path(os.environ["HOME"])
with (home / "runs").open("a") as log:
    log.write(json.dumps([session, prompt, os.getcwd()]) + "\\n")
def out(**event):
    print(json.dumps(event), flush=True)
def open_session():
    global session
    if session == "-":
        taken = len(list((home / "sessions").iterdir()))
        session = f"s{{taken}}-{{os.getpid()}}"
        (home / "sessions" / session).touch()
    out(type="session", id=session)
steps = [step.strip().partition(" ") for step in prompt.split(";")]
if "late" not in [word for word, _, _ in steps]:
    open_session()
answer = ""
for number, (word, _, rest) in enumerate(steps):
    if word == "say":
        answer = rest
    elif word == "step":
        out(type="step", id=str(number), title=rest)
    elif word == "sleep":
        time.sleep(float(rest))
    elif word == "wait":
        while not (home / rest).exists():
            time.sleep(0.02)
    elif word == "crash":
        sys.exit("the engine fell over")
    elif word == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)
    elif word == "late":
        open_session()
    else:
        answer = "echo: " + prompt
out(type="end", answer=answer)
"""
ADAPTER = """\
adapter: 1
id: {engine}
command: {engine}-cli
args:
  - {{if: run().resume, then: ["--session=${{run().resume}}"]}}
  - "${{run().prompt}}"
resume:
  line: {engine}-cli --resume ${{token}}
session:
  match: {{type: session}}
  id: id
events:
  - match: {{type: step}}
    action: {{id: id, kind: command, title: title}}
  - match: {{type: end}}
    complete: {{answer: answer}}
"""


class Stage:
    """One home folder, in which takopi can be started again and again."""

    def __init__(self, home, tg, room):
        self.home, self.tg, self.room = home, tg, room
        self.process = None
        for name in ("project", "bin", "sessions", ".takopi/adapters"):
            (home / name).mkdir(parents=True)
        for engine in ("acme", "other"):
            script = home / f"bin/{engine}-cli"
            script.write_text(ENGINE.format(python=sys.executable))
            script.chmod(0o755)
            (home / f".takopi/adapters/{engine}.yaml").write_text(ADAPTER.format(engine=engine))
        self.configure()

    @property
    def config(self):
        return self.home / ".takopi/takopi.toml"

    def configure(self, top="", table=""):
        self.config.write_text(
            f'default_engine = "acme"\n{top}\n'
            f'[transports.telegram]\nbot_token = "{self.tg.token}"\nchat_id = {self.room.id}\n'
            f'api_url = "{self.tg.url}"\nforward_coalesce_s = 0.05\n{table}\n'
        )

    @property
    def runs(self):
        """The prompts that were run, each with its session."""
        try:
            lines = (self.home / "runs").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [tuple(json.loads(line)[:2]) for line in lines]

    def let(self, name):
        """Let the engines go on that wait for a file."""
        (self.home / name).touch()

    def start(self, *args):
        """Start takopi, and wait for it to say so."""
        before = len(self.room.messages)
        with (self.home / "stderr").open("ab") as stderr:
            self.process = subprocess.Popen(
                [SCRIPTS / "takopi", *args],
                env=environment(self.home),
                cwd=self.home / "project",
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                start_new_session=True,
            )
        self.tg.wait_for(lambda: self._is_ready(before) or self.process.poll() is not None, 20)
        assert self.process.poll() is None, self.stderr

    @staticmethod
    def run(home, *args):
        """Another takopi, that ends by itself."""
        return takopi(home, *args)

    def _is_ready(self, before):
        return any("takopi is ready" in m.text for m in self.room.messages[before:])

    def stop(self, number=signal.SIGTERM):
        """End takopi; its exit code."""
        self.process.send_signal(number)
        return self.wait()

    def end(self):
        """Nothing is left running, and nothing was logged that nobody expects."""
        if self.process is not None:
            self.stop()
        assert "Traceback" not in self.stderr, self.stderr
        assert self.tg.token not in self.stderr

    def kill(self):
        """End takopi and its engines, so that nobody can say good-bye."""
        children = children_of(self.process.pid)
        self.process.kill()
        self.wait()
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def wait(self):
        code = self.process.wait(20)
        self.process = None
        return code

    @property
    def stderr(self):
        return (self.home / "stderr").read_text()


def children_of(pid):
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(each) for each in found.stdout.split()]
