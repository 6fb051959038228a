"""Shells around commands: the quick way must give what shlex gives."""

from __future__ import annotations

import shlex
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from takopi.adapters.shell import unwrap_shell


def by_shlex(script):
    """What a shell would run as its script, None if that is not one word."""
    try:
        words = shlex.split(script)
    except ValueError:
        return None
    return words[0] if len(words) == 1 and words[0] else None


PIECES = st.sampled_from(
    ["'", '"', "\\", " ", "\t", "\n", "a", "b c", "#", "$x", "`", "''", '""', "é", "\u00a0", "-c"]
)


@given(
    st.sampled_from(["bash -c ", "/bin/sh -lc ", "env zsh -c  ", "/usr/bin/env /bin/bash -c "]),
    st.lists(PIECES, min_size=1, max_size=8).map("".join),
)
@settings(deadline=None, max_examples=500)
def test_a_script_is_what_shlex_says(shell, script):
    wanted = by_shlex(script.strip()) if script.strip() else None
    command = shell + script
    assert unwrap_shell(command) == (command if wanted is None else wanted)


@pytest.mark.parametrize(
    ("command", "script"),
    [
        ('sh -c "a b"', "a b"),
        ('sh -c "a $b"  ', "a $b"),
        ("sh -c a", "a"),
        ("sh -c a'b c'", "ab c"),
        ("/bin/env /bin/sh -c a", "a"),
        ("sh -c ''", "sh -c ''"),
        ('sh -c ""', 'sh -c ""'),
        ("/bin/envsh -c a", "/bin/envsh -c a"),
        ("env env sh -c a", "env env sh -c a"),
    ],
)
def test_shapes(command, script):
    assert unwrap_shell(command) == script


@pytest.mark.parametrize(
    "command", ["/" * 100_000, "env " * 50_000, "sh -c '" + "' " * 50_000, " " * 200_000 + "x"]
)
def test_odd_commands_take_no_time(command):
    began = time.process_time()
    unwrap_shell(command)
    assert time.process_time() - began < 1
