"""Expectations that are kept beside what they are about."""

from __future__ import annotations

from typing import Any

from syrupy.data import SnapshotCollections
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
from syrupy.location import PyTestLocation


class TextBeside(SingleFileSnapshotExtension):
    """One text file for each test. A subclass says where it is, and its name."""

    _write_mode = WriteMode.TEXT

    @classmethod
    def matches_test_location(
        cls, *, test_location: PyTestLocation, snapshot_location: str
    ) -> bool:
        return snapshot_location == cls.get_location(test_location=test_location, index=0)

    def discover_snapshots(self, **_: Any) -> SnapshotCollections:
        """Nothing is ever unused: syrupy would delete what the texts are beside of along with them."""
        return SnapshotCollections()
