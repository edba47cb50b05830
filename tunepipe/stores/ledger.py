"""A series of small records, each written once and never changed.

The next record has the next number, and Cloud Storage gives a name to one writer only. So if two
processes continue from the same record, one wins. A reader never sees half a change. A bucket with
a retention policy, which forbids overwriting, works too.

What the store refuses becomes a CloudError.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunepipe.stores import storage
from tunepipe.stores.storage import ConflictError


@dataclass(frozen=True)
class Record:
    """One record: its number, from 1, and its fields."""

    number: int
    fields: Mapping[str, Any]


NO_RECORD = Record(0, {})


@dataclass(frozen=True)
class Ledger:
    """The records below a folder: a path, or a gs:// prefix."""

    folder: str

    def last(self) -> Record:
        """Return the latest record; NO_RECORD before the first."""
        files = self._files()
        return self._read(files[-1]) if files else NO_RECORD

    def records(self) -> list[Record]:
        """Return all records, the first one first."""
        return [self._read(file) for file in self._files()]

    def append(self, after: int, fields: Mapping[str, Any]) -> bool:
        """Write the record after number `after`, 0 for the first; False if another process did."""
        data = json.dumps(dict(fields), ensure_ascii=False, indent=1).encode()
        try:
            storage.write_bytes(data, self.address(after + 1), must_be_new=True)
        except ConflictError:
            return False
        return True

    def address(self, number: int) -> str:
        """Return the file of a record."""
        return f"{self.folder}/{number:06d}.json"

    def _files(self) -> list[str]:
        return storage.matching_files(f"{self.folder}/*.json")

    def _read(self, file: str) -> Record:
        number = int(file.rpartition("/")[2].removesuffix(".json"))
        return Record(number, json.loads(storage.read_bytes(file)))
