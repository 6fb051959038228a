"""A chat with a bot in the terminal: ``python -m tests.fake_telegram --port 0``.

Prints what a bot needs to connect, then takes lines as messages of one user and shows the chat.
"""

from __future__ import annotations

import argparse
import math
import sys
import threading
import time

from tests.fake_telegram.api import FakeBotApi
from tests.fake_telegram.chats import Room, Shown
from tests.fake_telegram.server import FakeTelegram

HELP = """\
a line          is sent to the bot; /commands as well
:reply ID TEXT  answer a message
:press ID NAME  press a button; without NAME the only one
:edit ID TEXT   change your message
:delete ID      delete a message
:file PATH TEXT send a file with a caption
:chat           show the chat as it is now
:calls          show the last calls of the bot
:wrong          show what the bot did that it should not do
:help           show this
:quit           end; so does the end of the input"""


class Watcher(threading.Thread):
    """Prints the bot's messages as they appear, change and go."""

    def __init__(self, room: Room) -> None:
        super().__init__(daemon=True)
        self.room = room
        self.stopped = False
        self._shown: dict[int, str] = {}

    def run(self) -> None:
        while not self.stopped:
            self.look()
            time.sleep(0.1)

    def look(self) -> None:
        """Print what is new since the last look."""
        now = {view.id: str(view) for view in self.room.visible() if view.by == "bot"}
        for number, text in now.items():
            before = self._shown.get(number)
            if text != before:
                print(f"{'+' if before is None else '~'} {text}", flush=True)
        for number in self._shown.keys() - now.keys():
            print(f"- {number:>4} deleted", flush=True)
        self._shown = now


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fake_telegram", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--user", type=int, default=1, help="id of the user, and of the chat")
    parser.add_argument("--limits", choices=("off", "log", "enforce"), default="enforce")
    options = parser.parse_args()
    api = FakeBotApi(time_scale=1, limits=options.limits)
    server = FakeTelegram(api, port=options.port, max_requests=sys.maxsize, lifetime_s=math.inf)
    with server as tg:
        room = tg.private(tg.user(options.user, "You"))
        print(f"api_url = {tg.url}\nbot_token = {tg.token}\nchat_id = {room.id}\n\n{HELP}\n")
        watcher = Watcher(room)
        watcher.start()
        try:
            for line in sys.stdin:
                if line.strip() == ":quit":
                    break
                handle(tg, room, line.rstrip("\n"))
        except KeyboardInterrupt:
            pass
        watcher.stopped = True
        watcher.join()
        watcher.look()


def handle(tg: FakeTelegram, room: Room, line: str) -> None:
    """Do what one line asks for."""
    try:
        if line.startswith(":"):
            command(tg, room, *line[1:].split(maxsplit=2))
        elif line.strip():
            print(f"  {room.send(line).view}", flush=True)
    except (AssertionError, LookupError, TypeError, ValueError, OSError) as error:
        print(f"error: {error or type(error).__name__}", flush=True)


def command(tg: FakeTelegram, room: Room, name: str = "", target: str = "", text: str = "") -> None:
    def chosen() -> Shown:
        message = room.chat.messages.get(int(target)) if target.isdecimal() else None
        if message is None:
            raise LookupError(f"no message {target!r}; :chat shows the numbers")
        return Shown(room, message)

    if name == "reply":
        print(f"  {room.send(text, reply_to=chosen()).view}", flush=True)
    elif name == "press":
        query = chosen().press(text)
        answer = tg.wait_for(lambda: query.answer)
        print(f"  the button says: {answer and answer['text']!r}", flush=True)
    elif name == "edit":
        room.edit(chosen(), text)
    elif name == "delete":
        room.delete(chosen())
    elif name == "file":
        with open(target, "rb") as file:
            room.document(target.rpartition("/")[2], file.read(), caption=text)
    elif name == "chat":
        print(room.transcript(), flush=True)
    elif name == "calls":
        print("\n".join(str(call) for call in tg.calls()[-20:]), flush=True)
    elif name == "wrong":
        print("\n".join(tg.violations) or "nothing", flush=True)
    elif name in ("", "help"):
        print(HELP, flush=True)
    else:
        raise LookupError(f"no command :{name}; :help lists them")


if __name__ == "__main__":
    main()
