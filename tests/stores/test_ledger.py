"""Records that are written once: their numbers, their files, and who is first."""

from tunepipe.stores.ledger import NO_RECORD, Ledger, Record


def test_records_are_numbered_files_and_the_second_writer_of_one_is_refused(tmp_path):
    ledger = Ledger(str(tmp_path / "moves"))
    assert (ledger.last(), ledger.records()) == (NO_RECORD, [])
    assert ledger.append(0, {"reason": "größer", "wins": 3}) is True
    assert ledger.append(0, {"reason": "late"}) is False
    assert ledger.append(1, {"reason": ""}) is True
    assert ledger.records() == [
        Record(1, {"reason": "größer", "wins": 3}), Record(2, {"reason": ""}),
    ]  # fmt: skip
    assert ledger.last() == Record(2, {"reason": ""})
    # A later version reads and compares these bytes.
    assert sorted(path.name for path in (tmp_path / "moves").iterdir()) == [
        "000001.json", "000002.json",
    ]  # fmt: skip
    assert ledger.address(1) == str(tmp_path / "moves/000001.json")
    written = '{\n "reason": "größer",\n "wins": 3\n}'
    assert (tmp_path / "moves/000001.json").read_text(encoding="utf-8") == written
