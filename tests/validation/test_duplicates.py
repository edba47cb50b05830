import random
from array import array
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from tunepipe.validation.duplicates import Repeat, RepeatFinder

ROWS = st.lists(
    st.lists(st.tuples(st.integers(0, 6), st.integers(1, 3)), max_size=40), min_size=1, max_size=4
)


def filled(files, others, limit, **sizes):
    repeats = RepeatFinder(limit, **sizes)
    # Hashes spread over all 64 bits; 0 stays 0, a line without a sound row.
    spread = [0, *(random.Random(value).getrandbits(64) for value in range(1, 7))]
    for against, group in ((False, files), (True, others)):
        for file, rows in enumerate(group):
            for start in range(0, len(rows), 7):
                part = rows[start : start + 7]
                inputs = array("Q", [spread[key] for key, _ in part]).tobytes()
                outputs = array("Q", [x for _, x in part]).tobytes()
                repeats.add(file, start + 1, inputs, outputs, against)
    return repeats.find()


def by_definition(files, others):
    found, seen = [], []
    theirs = [
        (file, line, key)
        for file, rows in enumerate(others)
        for line, (key, _) in enumerate(rows, 1)
    ]
    for file, rows in enumerate(files):
        for line, (key, wanted) in enumerate(rows, 1):
            if not key:
                continue
            same = [place for place, *pair in seen if pair == [key, wanted]]
            alike = [place for place, *pair in seen if pair[0] == key]
            if same:
                found.append(Repeat("duplicate-row", file, line, *same[0]))
            elif alike:
                found.append(Repeat("conflicting-row", file, line, *alike[0]))
            leaks = [(f, n) for f, n, other in theirs if other == key]
            if leaks:
                found.append(Repeat("eval-leak", file, line, *leaks[0]))
            seen.append(((file, line), key, wanted))
    return found


@settings(deadline=None, max_examples=60)
@given(files=ROWS, others=st.one_of(st.just([]), ROWS))
def test_dictionary_and_sorted_runs_find_what_the_definition_says(files, others):
    wanted = sorted(by_definition(files, others), key=lambda x: (x.file, x.line, x.code))
    for sizes in ({}, {"dictionary_lines": 0, "run_lines": 10}, {"dictionary_lines": 0}):
        found = filled(files, others, 1000, **sizes)
        assert sorted(found.first, key=lambda x: (x.file, x.line, x.code)) == wanted
        assert sum(found.counts.values()) == len(wanted)


@settings(deadline=None, max_examples=30)
@given(files=ROWS, others=ROWS)
def test_the_list_is_cut_and_the_counts_are_not(files, others):
    whole = filled(files, others, 1000)
    for sizes in ({}, {"dictionary_lines": 0, "run_lines": 10}):
        cut = filled(files, others, 2, **sizes)
        assert cut.counts == whole.counts
        for code in whole.counts:
            first = [repeat for repeat in whole.first if repeat.code == code][:2]
            assert [repeat for repeat in cut.first if repeat.code == code] == first


@settings(deadline=None, max_examples=60)
@given(
    files=st.lists(st.lists(st.tuples(st.integers(1, 2), st.integers(1, 2)), max_size=60)),
    others=st.lists(st.lists(st.tuples(st.integers(1, 2), st.integers(1, 2)), max_size=9)),
    limit=st.integers(0, 4),
    run_lines=st.integers(10, 80),
)
def test_rows_that_repeat_very_often_are_counted_all_the_same(files, others, limit, run_lines):
    wanted = by_definition(files, others)
    found = filled(files, others, limit, dictionary_lines=0, run_lines=run_lines)
    assert found.counts == Counter(repeat.code for repeat in wanted)
    for code in found.counts:
        first = [repeat for repeat in wanted if repeat.code == code][:limit]
        assert [repeat for repeat in found.first if repeat.code == code] == first
