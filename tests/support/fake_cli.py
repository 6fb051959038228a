"""An engine CLI that does what a script says: ``fake_cli.py SCRIPT.json [ARGUMENT]...``.

The script is a list of steps, each a list of a word and its values:

``print TEXT``              a line on stdout
``repeat COUNT TEXT``       the same line many times; ``%d`` in it is its number
``write TEXT``              stdout without a newline
``hex DIGITS``              bytes on stdout
``err TEXT``                a line on stderr
``sleep SECONDS``
``read``                    stdin to its end
``echo NAME...``            a JSON line with ``argv``, ``stdin``, ``cwd``, ``env`` (variables NAME...)
``spawn SECONDS FILE``      a child that holds our pipes, its pid in FILE
``stray SECONDS FILE``      the same in a session of its own
``note FILE``               append a line with the time to FILE
``wait FILE``               until FILE exists
``close``                   close stdout and stderr
``deaf``                    ignore SIGTERM
``farewell TEXT``           at SIGTERM print TEXT and exit with 7
``exit CODE``, ``kill SIGNAL``
"""

import json
import os
import signal
import subprocess
import sys
import time

STDIN = None


def spawn(seconds, file, new_session):
    child = subprocess.Popen(["sleep", str(seconds)], start_new_session=new_session)
    with open(file + ".part", "w") as out:
        out.write(str(child.pid))
    os.rename(file + ".part", file)


def farewell(text):
    def on_term(*_):
        os.write(1, text.encode() + b"\n")
        os._exit(7)

    signal.signal(signal.SIGTERM, on_term)


def echo(names):
    found = {name: os.environ.get(name) for name in names}
    line = {"type": "echo", "argv": sys.argv[2:], "stdin": STDIN, "cwd": os.getcwd(), "env": found}
    print(json.dumps(line), flush=True)


def step(word, *values):
    global STDIN
    if word == "print":
        print(values[0], flush=True)
    elif word == "repeat":
        count, text = values
        sys.stdout.writelines(text.replace("%d", str(i)) + "\n" for i in range(count))
        sys.stdout.flush()
    elif word == "write":
        print(values[0], end="", flush=True)
    elif word == "hex":
        os.write(1, bytes.fromhex(values[0]))
    elif word == "err":
        print(values[0], file=sys.stderr, flush=True)
    elif word == "sleep":
        time.sleep(values[0])
    elif word == "read":
        STDIN = sys.stdin.buffer.read().decode()
    elif word == "echo":
        echo(values)
    elif word in ("spawn", "stray"):
        spawn(*values, new_session=word == "stray")
    elif word == "note":
        with open(values[0], "a") as out:
            out.write(f"{time.monotonic()}\n")
    elif word == "wait":
        while not os.path.exists(values[0]):
            time.sleep(0.005)
    elif word == "close":
        os.close(1)
        os.close(2)
    elif word == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif word == "farewell":
        farewell(values[0])
    elif word == "exit":
        os._exit(values[0])
    elif word == "kill":
        os.kill(os.getpid(), values[0])
    else:
        raise SystemExit(f"no such step: {word}")


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as script:
        for found in json.load(script):
            step(*found)
    os._exit(0)
