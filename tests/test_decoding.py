"""Tables that do not fit their type are refused at their first wrong field, with a remedy."""

import math
from datetime import date
from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta

from tunepipe.decoding import decode
from tunepipe.errors import UsageError

Count = Annotated[int, Meta(ge=1)]
Day = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\d$", description="a day, such as 2026-11-22")]


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    share: Annotated[float, Meta(ge=0, le=1)]
    mode: Literal["full", "peft"] = "full"
    batch: Count | dict[str, Count] = 8
    sizes: tuple[Count, ...] = ()
    read: Day = "2026-11-22"
    rows: dict[str, "Row"] = {}

    def __post_init__(self):
        if self.mode == "peft" and not self.sizes:
            raise UsageError("peft needs sizes", where="sizes", fix="add sizes = [8]")


@pytest.mark.parametrize(
    ("value", "where", "fix"),
    [
        ({}, "tables", "add share"),
        ([], "tables", "a table of values"),
        ({"share": 2}, "tables.share", "a number from 0 to 1"),
        ({"share": math.nan}, "tables.share", "a number from 0 to 1"),
        ({"share": True}, "tables.share", "a number from 0 to 1"),
        ({"share": "0.1"}, "tables.share", "a number from 0 to 1"),
        ({"share": 0, "modes": "full"}, "tables", "did you mean mode?"),
        ({"share": 0, "mode": "lora"}, "tables.mode", "one of full, peft"),
        ({"share": 0, "mode": "peft"}, "tables.sizes", "add sizes = [8]"),
        ({"share": 0, "batch": 0}, "tables.batch", "a whole number from 1 up"),
        ({"share": 0, "batch": 2.5}, "tables.batch", "a whole number from 1 up"),
        ({"share": 0, "batch": {"eu": 0}}, "tables.batch.eu", "a whole number from 1 up"),
        ({"share": 0, "sizes": [0]}, "tables.sizes", "a list, each item a whole number from 1 up"),
        ({"share": 0, "read": "soon"}, "tables.read", "a day, such as 2026-11-22"),
        ({"share": 0, "rows": {"a-4.1": {"share": 1}, "a-4.2": {}}}, "tables.rows.a-4.2", "a-4.1?"),
    ],
)
def test_the_first_wrong_field_is_named(value, where, fix):
    with pytest.raises(UsageError) as caught:
        decode(value, Row, "tables")
    assert caught.value.where == where
    assert fix in caught.value.fix


def test_whole_floats_and_days_are_taken():
    row = decode({"share": 0.0, "batch": {"eu": 4.0}, "read": date(2026, 1, 2)}, Row)
    assert (row.share, row.batch, row.read) == (0.0, {"eu": 4}, "2026-01-02")
