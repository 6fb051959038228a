"""A real terminal with takopi in it: what a user types and sees."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time

from tests.support.command_line import SCRIPTS, environment

_ROWS, _COLUMNS = 40, 120
# A control sequence with its parameters, another escape, or one character.
_PIECE = re.compile(
    r"\x1b\[(?P<parameters>[0-?]*)[ -/]*(?P<final>[@-~])|\x1b\][^\x07]*\x07|\x1b[()=>][0-9A-Z]?|."
    r"|\n",
)


class Display:
    """What a terminal shows of what is written to it, with all that has scrolled away.

    ``styles`` are the parameters of all styles that were used: ``1`` is bold, ``90`` is grey.
    """

    def __init__(self):
        self.lines = [""]
        self.row = self.column = self.bells = 0
        self.styles = set()

    def __str__(self):
        return "\n".join(line.rstrip() for line in self.lines)

    def feed(self, text):
        """Show it; gives the answers that a terminal sends back."""
        answers = ""
        for piece in _PIECE.finditer(text):
            if piece["final"] == "n":
                top = max(0, len(self.lines) - _ROWS)
                answers += f"\x1b[{self.row - top + 1};{self.column + 1}R"
            elif piece["final"]:
                self._control(piece["final"], piece["parameters"])
            elif not piece[0].startswith("\x1b"):
                self._character(piece[0])
        return answers

    def _control(self, final, parameters):
        count = int(parameters) if parameters.isdigit() else 1
        if final == "m":
            self.styles.update(parameters.split(";"))
        elif final == "A":
            self.row = max(0, self.row - count)
        elif final == "B":
            self._go(self.row + count)
        elif final == "C":
            self.column += count
        elif final == "D":
            self.column = max(0, self.column - count)
        elif final == "K":
            self.lines[self.row] = self.lines[self.row][: self.column]
        elif final == "J":
            self.lines[self.row] = self.lines[self.row][: self.column]
            del self.lines[self.row + 1 :]

    def _character(self, char):
        if char == "\r":
            self.column = 0
        elif char == "\n":
            self._go(self.row + 1)
        elif char == "\b":
            self.column = max(0, self.column - 1)
        elif char == "\a":
            self.bells += 1
        elif char >= " ":
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[: self.column] + char + line[self.column + 1 :]
            self.column += 1

    def fold(self, columns):
        """Get narrower: what does not fit goes on in lines of its own."""
        lines = []
        cursor = None
        for number, line in enumerate(self.lines):
            if number == self.row:
                cursor = len(lines) + self.column // columns, self.column % columns
                line = line.ljust(self.column + 1)
            lines += [line[at : at + columns] for at in range(0, max(1, len(line)), columns)]
        self.lines = lines
        self.row, self.column = cursor

    def _go(self, row):
        self.row = row
        self.lines += [""] * (row + 1 - len(self.lines))


class Terminal:
    """takopi at a terminal, in the home's ``project`` folder."""

    def __init__(self, home, *args, cwd=None, **env):
        self.display = Display()
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            _set_size(0, _COLUMNS, _ROWS)
            os.chdir(cwd or home / "project")
            os.execve(SCRIPTS / "takopi", ["takopi", *args], {**environment(home), **env})

    def __enter__(self):
        return self

    def hang_up(self):
        """Close the terminal's window."""
        os.close(self._master)
        self._master = None

    def __exit__(self, *_):
        try:
            if os.waitpid(self.pid, os.WNOHANG) == (0, 0):
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass  # `wait` has been there
        if self._master is not None:
            os.close(self._master)

    @property
    def shown(self):
        """Everything that can be seen, scrolling back."""
        return str(self.display)

    def type(self, text):
        """Press keys; Enter is ``\\r``."""
        data = text.encode()
        while data:
            written = os.write(self._master, data[:1024])
            data = data[written:]
            self._read(0)

    def resize(self, columns, rows=_ROWS):
        """Drag the window's corner: to a lower one, or one that folds what it shows."""
        self.display.fold(columns)
        _set_size(self._master, columns, rows)

    def enter(self, text):
        self.type(text + "\r")

    def paste(self, text):
        self.type(f"\x1b[200~{text}\x1b[201~")

    def expect(self, *texts, timeout=20):
        """Wait until all of this is to be seen at once."""
        end = time.monotonic() + timeout
        while not all(text in self.shown for text in texts):
            assert time.monotonic() < end, f"no {texts!r} in:\n{self.shown}"
            assert self._read(0.1), f"ended without {texts!r}:\n{self.shown}"

    def expect_gone(self, text, timeout=20):
        """Wait until this is not to be seen any more."""
        end = time.monotonic() + timeout
        while text in self.shown:
            assert time.monotonic() < end, f"{text!r} in:\n{self.shown}"
            assert self._read(0.1), f"ended with {text!r}:\n{self.shown}"

    def wait(self, timeout=20):
        """The exit code."""
        end = time.monotonic() + timeout
        while self._read(0.1):
            assert time.monotonic() < end, f"still there:\n{self.shown}"
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _read(self, seconds):
        """Take a little of what is there; False at the end."""
        ready, _, _ = select.select([self._master], [], [], seconds)
        if not ready:
            return True
        try:
            data = os.read(self._master, 4096)
        except OSError:
            return False
        answers = self.display.feed(data.decode("utf-8", "replace"))
        if answers:
            os.write(self._master, answers.encode())
        return bool(data)


def _set_size(number, columns, rows):
    fcntl.ioctl(number, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
