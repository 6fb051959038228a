"""A stage for the bot: the real `takopi` process, an engine that does as its prompt says, a fake server.

Prompts are lists of words, separated by `;`: `say TEXT` (the answer), `tell FILE` (the answer is in it),
`step TEXT`, `sleep SECONDS`, `wait FILE` (until it exists), `crash`, `leave` (without an answer), `hang`
(silent, and deaf to SIGTERM), `late` (the session comes only now). ``runs`` says which prompts were
really run.
"""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress

from tests.support.command_line import SCRIPTS, environment, takopi

WAIT_S = 40  # the machine may be busy

ENGINE = """\
#!{python} -IS
import json, os, signal, sys, time
from pathlib import Path
session, prompt = sys.argv[1].removeprefix("--session=") if sys.argv[2:] else "-", sys.argv[-1]
if prompt == "--version":
    sys.exit("1.2.3")
home = Path(os.environ["HOME"])
def note(what):
    with (home / "runs").open("a") as log:
        log.write(json.dumps([what, session, prompt, time.monotonic()]) + "\\n")
note("begin")
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
    elif word == "tell":
        answer = (home / rest).read_text()
    elif word == "step":
        out(type="step", id=str(number), title=rest)
    elif word == "sleep":
        time.sleep(float(rest))
    elif word == "wait":
        while not (home / rest).exists():
            time.sleep(0.02)
    elif word == "crash":
        sys.exit("the engine fell over")
    elif word == "leave":
        sys.exit()
    elif word == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)
    elif word == "late":
        open_session()
    else:
        answer = "echo: " + prompt
note("end")
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
        self.orphans = []  # engines of a takopi that was killed
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

    def configure(self, top="", table="", *, patience_s=0.05):
        self.config.write_text(
            f'default_engine = "acme"\n{top}\n'
            f'[transports.telegram]\nbot_token = "{self.tg.token}"\nchat_id = {self.room.id}\n'
            f'api_url = "{self.tg.url}"\nforward_coalesce_s = {patience_s}\n{table}\n'
        )

    @property
    def log(self):
        """What the engines did: ("begin" or "end", session or "-", prompt, seconds)."""
        try:
            lines = (self.home / "runs").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [tuple(json.loads(line)) for line in lines]

    @property
    def runs(self):
        """The prompts that were run, each with the session that it was given."""
        return [(session, prompt) for what, session, prompt, _ in self.log if what == "begin"]

    def let(self, name):
        """Let the engines go on that wait for a file."""
        (self.home / name).touch()

    def start(self, *args):
        """Start takopi, and wait for it to say so; what it says."""
        before = self.room.chat.last_message_id
        self.launch(*args)
        return self.ready(before)

    def launch(self, *args):
        """Start takopi, and go on."""
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

    def ready(self, before):
        """What takopi says once it is ready, in a message behind this one."""
        self.until(lambda: self._hello(before) or self.process.poll() is not None)
        assert self.process.poll() is None, self.stderr
        return self._hello(before)

    def _hello(self, before):
        found = self.room.find("takopi is ready", after=before)
        return found.text if found else None

    @staticmethod
    def run(home, *args):
        """Another takopi, that ends by itself."""
        return takopi(home, *args)

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

    def give_up(self):
        """Leave no process behind, whatever happened."""
        if self.process is not None:
            self.kill()
        for pid in self.orphans:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill(self):
        """End takopi, so that it cannot say good-bye; its engines live on."""
        self.orphans += children_of(self.process.pid)
        self.process.kill()
        self.wait()

    def wait(self):
        code = self.process.wait(WAIT_S)
        self.process = None
        return code

    @property
    def stderr(self):
        log = self.home / "stderr"
        return log.read_text() if log.exists() else ""

    # What people see, and wait for

    def says(self, text, room=None, after=0):
        """The bot's message with this text, once it is there."""
        return (room or self.room).bot_message(text, after=after, timeout=WAIT_S)

    def answers(self, text, room=None, after=0):
        """The answer with this text, once it is there."""
        room = room or self.room
        return room.bot_message(f"\n\n{text}\n", startswith="done", after=after, timeout=WAIT_S)

    def shows(self, text, label="", room=None, after=0):
        """A message with a button, once it has this text."""

        def find():
            shown = (room or self.room).find(text, startswith=label, after=after)
            return shown if shown and shown.buttons else None

        return self.tg.wait_for(find, WAIT_S)

    def until(self, predicate, timeout=WAIT_S):
        """What becomes true."""
        return self.tg.wait_for(predicate, timeout)

    def becomes(self, shown, label):
        """Wait for a message to begin with this, without a button."""
        self.until(lambda: shown.text.startswith(label) and not shown.buttons)


def children_of(pid):
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(each) for each in found.stdout.split()]


def token_in(shown):
    """The session that a message can be gone on with."""
    return re.search(r"--resume (\S+)", shown.text).group(1)


def final_answers(room):
    """The text of each answer, in order."""
    return [m.text.split("\n\n")[1] for m in room.messages if m.text.startswith("done · ")]
