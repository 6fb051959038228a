"""``python -m bench.memory lines N`` or ``oversized BYTES``: growth of the peak, in MB, of one run.

A process of its own, because a peak never goes down.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import anyio

from bench.processes import INIT, RESULT, consume, runner_of, write_stream

_MB = 1_000_000


def growth_mb(*arguments: str) -> float:
    """What this module prints when it is run with ``arguments``."""
    argv = [sys.executable, "-m", "bench.memory", *arguments]
    return float(subprocess.run(argv, capture_output=True, check=True, text=True).stdout)


def _peak_mb() -> float:
    """The peak of this program. What ``getrusage`` tells is also its parent's, from before ``exec``."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / _MB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / _MB if sys.platform == "darwin" else peak * 1024 / _MB


def _main(what: str, amount: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        warm = write_stream(Path(folder) / "warm", 20_000)
        file = Path(folder) / "stream"
        if what == "lines":
            write_stream(file, amount)
        else:
            with file.open("wb") as out:
                out.write(INIT + b'{"type": "text", "text": "')
                for _ in range(amount // _MB):
                    out.write(b"x" * _MB)
                out.write(b'"}\n' + RESULT)
        anyio.run(consume, runner_of("cat", str(warm)))
        before = _peak_mb()
        anyio.run(consume, runner_of("cat", str(file)))
        print(_peak_mb() - before)


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]))
