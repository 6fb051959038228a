"""State files are replaced whole, or not at all."""

import json
import os
import stat
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from takopi.json_state import atomic_write_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inside: st.lists(inside) | st.dictionaries(st.text(), inside),
    max_leaves=8,
)


@given(payload=JSON)
@settings(deadline=None, max_examples=40)
def test_what_was_written_is_read_back(payload, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "property.json"
    atomic_write_json(path, payload)
    assert json.loads(path.read_text(encoding="utf-8")) == payload


def test_keys_are_sorted_and_the_last_line_ends(tmp_path):
    path = tmp_path / "deep" / "er" / "state.json"
    atomic_write_json(path, {"b": [1], "a": {"d": 1, "c": "ü"}})
    assert path.read_text(encoding="ascii") == (
        '{\n  "a": {\n    "c": "\\u00fc",\n    "d": 1\n  },\n  "b": [\n    1\n  ]\n}\n'
    )
    assert os.listdir(path.parent) == ["state.json"]


def test_layout_can_be_chosen(tmp_path):
    path = tmp_path / "state.json"
    atomic_write_json(str(path), {"b": 1, "a": 2}, indent=None, sort_keys=False)
    assert path.read_text() == '{"b": 1, "a": 2}\n'


def test_half_a_character_survives(tmp_path):
    path = tmp_path / "state.json"
    atomic_write_json(path, {"name": "a\ud83d"})
    assert json.loads(path.read_bytes()) == {"name": "a\ud83d"}


@pytest.mark.parametrize("payload", [{"a": object()}, {"a": {1, 2}}, {(1,): 2}])
def test_what_json_cannot_say_leaves_the_old_file(tmp_path, payload):
    path = tmp_path / "state.json"
    atomic_write_json(path, {"old": True})
    with pytest.raises(TypeError):
        atomic_write_json(path, payload)
    assert json.loads(path.read_text()) == {"old": True}
    assert os.listdir(tmp_path) == ["state.json"]


def test_a_replacement_that_fails_leaves_nothing_behind(tmp_path):
    path = tmp_path / "state.json"
    path.mkdir()
    with pytest.raises(OSError, match=r"state\.json"):
        atomic_write_json(path, {})
    assert os.listdir(tmp_path) == ["state.json"]


def test_a_new_file_is_private_and_an_old_one_keeps_its_mode(tmp_path):
    path = tmp_path / "state.json"
    atomic_write_json(path, {})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    atomic_write_json(path, {"a": 1})
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_link_is_followed(tmp_path):
    real, link = tmp_path / "real" / "state.json", tmp_path / "link.json"
    real.parent.mkdir()
    link.symlink_to(real)
    atomic_write_json(link, {"a": 1})
    assert link.is_symlink()
    assert json.loads(real.read_text()) == {"a": 1}


def test_writers_at_once_never_mix(tmp_path):
    path = tmp_path / "state.json"
    threads = [
        threading.Thread(target=atomic_write_json, args=(path, [number] * 5000))
        for number in range(12)
    ]
    atomic_write_json(path, [99] * 5000)
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert len(set(json.loads(path.read_text()))) == 1
    assert len(json.loads(path.read_text())) == 5000
    assert os.listdir(tmp_path) == ["state.json"]
