"""The garbage collector of a program that runs for weeks and must not keep anybody waiting."""

from __future__ import annotations

import gc

# Steps of runs live long and are many: with Python's own numbers all of them would be looked
# through several times a second while fifty runs are busy, for 30 ms each time.
_THRESHOLDS = (5_000, 20, 50)


def settle_collector() -> None:
    """Call it once everything is loaded: what is there stays, and is not looked through again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
