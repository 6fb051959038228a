"""``python -m bench`` works; what it measures is for people to judge."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.telegram import lateness
from tests.fake_telegram import Call
from tests.fake_telegram.params import Params

CHECKOUT = Path(__file__).parents[2]


def test_translator_quick(tmp_path):
    file = tmp_path / "numbers.json"
    argv = [sys.executable, "-m", "bench", "--quick", "--only", "translator", "--json", str(file)]
    done = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    rows = json.loads(file.read_text())["topics"]["translator"]
    engines = {path.name for path in (CHECKOUT / "fixtures" / "streams").iterdir()}
    for engine in engines:
        assert any(row["what"].startswith(f"{engine}: translator ÷ ") for row in rows)
    assert all(row["seen"] > 0 for row in rows)
    assert "one 1 MB line" in done.stdout


def test_telegram_quick(tmp_path):
    file = tmp_path / "numbers.json"
    argv = [sys.executable, "-m", "bench", "--quick", "--only", "telegram", "--json", str(file)]
    done = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    rows = {row["what"]: row for row in json.loads(file.read_text())["topics"]["telegram"]}
    assert rows["calls that were too fast for Telegram"]["seen"] == 0
    assert rows["answers shown exactly once, of each run"]["seen"] == 1
    assert rows["an answer, later than allowed, max"]["seen"] >= 0
    assert rows["CPU of takopi, per run"]["seen"] > 0
    (idle,) = (row for what, row in rows.items() if what.endswith(": resident"))
    assert idle["target"] == 45


def sent(seq, at, chat, method="sendMessage"):
    return Call(seq, at, method, Params({"chat_id": chat}), lambda: True)


@pytest.mark.parametrize(
    ("before", "ready", "allowed"),
    [
        ([], 100.0, 100.0),
        # A private chat takes three at once, and one per second.
        ([(100.0, 1), (100.1, 1), (100.2, 1)], 100.3, 100.999),
        # A minute's twenty of a group are used up.
        ([(100.0, -1)] * 20, 100.01, 102.997),
        ([(100.0, -1)] * 19, 100.01, 100.01),
        # So are the thirty of everybody's second.
        ([(100.0, chat) for chat in range(10, 40)], 100.01, 100.0333),
        # What comes in while the final could have does not excuse it.
        ([(101.0, 1)] * 3, 100.5, 100.5),
    ],
)
def test_lateness_counts_from_when_the_server_would_have_taken_the_call(before, ready, allowed):
    chat = before[0][1] if before else 1
    calls = [sent(seq, at, chat) for seq, (at, chat) in enumerate(before)]
    calls += [sent(seq, 90.0, 5, "getChat") for seq in range(200, 250)]  # do not count
    final = sent(99, 104.0, chat)
    late = lateness([*calls, final], [(ready, final)])
    assert late == {99: pytest.approx(104.0 - allowed, abs=0.001)}
