"""The front door: which topics, how long, and where the numbers go."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path

from bench import bridge, rendering, runner, startup, telegram, translator
from bench.measure import print_table

TOPICS = {
    "translator": translator.measure,
    "runner": runner.measure,
    "bridge": bridge.measure,
    "telegram": telegram.measure,
    "startup": startup.measure,
    "rendering": rendering.measure,
}


def main() -> int:
    """Measure, print a table per topic, and say how many targets were missed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes; rough")
    parser.add_argument("--only", choices=TOPICS, action="append", help="a topic; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers as well")
    chosen = parser.parse_args()
    machine = f"Python {platform.python_version()}, {platform.machine()}"
    print(f"{machine}{', quick: figures are rough' if chosen.quick else ''}")
    found = {}
    for topic in chosen.only or TOPICS:
        found[topic] = TOPICS[topic](chosen.quick)
        print_table(topic, found[topic])
    if chosen.json is not None:
        facts = {topic: [row.json() for row in rows] for topic, rows in found.items()}
        text = json.dumps({"machine": machine, "quick": chosen.quick, "topics": facts}, indent=2)
        chosen.json.write_text(text + "\n", encoding="utf-8")
    missed = sum(row.verdict == "missed" for rows in found.values() for row in rows)
    print(f"\n{missed} {'target' if missed == 1 else 'targets'} missed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
