"""Numbers on disk come back as they were added, wherever the array is read in between."""

from array import array

import pytest

from tunepipe.disk_array import CHUNK, DiskArray


@pytest.mark.parametrize("kind", ["Q", "H", "d"])
@pytest.mark.parametrize("size", [0, 7, CHUNK, 3 * CHUNK + 1])
def test_numbers_come_back_in_order(kind, size):
    numbers = array(kind, (number % 60_000 for number in range(size)))
    with DiskArray(kind) as kept:
        for start in range(0, size, 50_000):
            kept.extend(numbers[start : start + 50_000])
            assert kept.read(start, start + 3) == numbers[start : start + 3]
        assert len(kept) == size
        assert kept.load() == numbers
        assert kept.read(2, 5) == numbers[2:5]
        chunks = list(kept.chunks())
        assert [len(chunk) for chunk in chunks[:-1]] == [CHUNK] * (len(chunks) - 1)
        assert sum(chunks, array(kind)) == numbers
        if size:
            kept.extend(numbers[:2])
            assert kept.mapped().tolist() == [*numbers, *numbers[:2]]
    with pytest.raises(ValueError, match="closed"):
        kept.load()
