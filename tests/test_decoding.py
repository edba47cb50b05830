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


class Ranges(msgspec.Struct, frozen=True):
    above: Annotated[float, Meta(gt=0)] = 1.0
    below: Annotated[float, Meta(lt=5)] = 1.0
    within: Annotated[int, Meta(ge=1, le=2000)] = 1
    most: Annotated[int, Meta(le=3)] = 1
    either: bool | None = None
    names: tuple[str, ...] = ()
    kinds: dict[Literal["cat", "dog"], int] = {}


@pytest.mark.parametrize(
    ("value", "found", "where", "fix"),
    [
        ({"above": 0}, "0 is not valid", "above", "a number above 0"),
        ({"below": 5}, "5 is not valid", "below", "a number below 5"),
        ({"within": 0}, "0 is not valid", "within", "a whole number from 1 to 2,000"),
        ({"most": 4}, "4 is not valid", "most", "a whole number to 3"),
        ({"either": 1}, "1 is not valid", "either", "true or false or none"),
        ({"names": [1]}, "[1] is not valid", "names", "a list, each item a text in quotes"),
        ({"names": "x" * 58}, f"{'x' * 58!r} is not valid", "names",
         "a list, each item a text in quotes"),
        ({"names": "x" * 59}, f"'{'x' * 56}... is not valid", "names",
         "a list, each item a text in quotes"),
        ({"kinds": {"cat": 1, "dgo": 2}}, "unknown name dgo", "kinds", "did you mean dog?"),
        ({"other": 1, "most": 4}, "4 is not valid", "most", "a whole number to 3"),
        (3, "3 is not valid", "value", "a table of values"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_with_what_is_wanted(value, found, where, fix):
    with pytest.raises(UsageError) as caught:
        decode(value, Ranges)
    assert (caught.value.found, caught.value.where, caught.value.fix) == (found, where, fix)
    assert decode({"other": 1}, Ranges) == Ranges()


def test_whole_floats_and_days_are_taken():
    row = decode({"share": 0.0, "batch": {"eu": 4.0}, "read": date(2026, 1, 2)}, Row)
    assert (row.share, row.batch, row.read) == (0.0, {"eu": 4}, "2026-01-02")
