"""The rows that each run's model was trained on, as hashes, next to the champion's record.

As data grow, a split may hold out rows that an earlier model has learnt. That model would answer
them from memory, so a comparison with it leaves them out. `trained/RUN` holds the hash of each
distinct training row's content in 8 bytes; a million rows take 8 MB.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable

from tunepipe.registry import records
from tunepipe.stores import storage

_HEX_DIGITS, _BYTES = 16, 8


def record(registry: str, run: str, rows: Iterable[str], held_out: Collection[str]) -> None:
    """Record what a run's model was trained on; once, however often it is tried.

    Args:
        registry: A folder or a gs:// prefix.
        run: The run.
        rows: The ids of all rows of the dataset, which begin with the hash of their content.
        held_out: The hashes of the held-out rows, as predictions have them; without any it is not
            known what was trained on, and nothing is recorded.
    """
    if not held_out:
        return
    trained = {row[:_HEX_DIGITS] for row in rows} - set(held_out)
    numbers = sorted(int(row, 16) for row in trained)
    storage.write_new(struct.pack(f">{len(numbers)}Q", *numbers), _address(registry, run))


def find(registry: str, run: str) -> str:
    """Return where a run's training rows are recorded; "" if they are not."""
    address = _address(registry, run)
    return address if registry and run and storage.exists(address) else ""


def read(address: str) -> frozenset[str]:
    """Read the hashes of the training rows; none if there is no address."""
    data = storage.read_bytes(address) if address else b""
    numbers = struct.unpack(f">{len(data) // _BYTES}Q", data)
    return frozenset(f"{number:0{_HEX_DIGITS}x}" for number in numbers)


def _address(registry: str, run: str) -> str:
    return records.address(registry, f"trained/{run}")
