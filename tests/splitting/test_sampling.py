"""Thresholds, quotas, limits and units: invariants over drawn cases."""

from array import array
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunepipe.splitting import assignment as u
from tunepipe.splitting import sampling

QUICK = settings(deadline=None, max_examples=50)
MANY_ROWS = st.lists(
    st.tuples(st.integers(0, 2**64 - 1), st.integers(1, 6), st.integers(0, 3)),
    min_size=1,
    max_size=60,
    unique_by=lambda unit: unit[0],
)


def make(rows):
    rows = sorted(rows)
    return sampling.Units(
        array("Q", [r[0] for r in rows]),
        array("Q", [r[1] for r in rows]),
        array("Q", [r[1] * 10 for r in rows]),
        array("Q", [r[2] for r in rows]),
        array("d", [float(r[2]) for r in rows]),
    )


def count(units, chosen):
    return sum(units.rows[i] for i in chosen)


@pytest.mark.parametrize(
    ("rows", "fraction", "expected"),
    [(10, 0.25, 3), (5, 0.1, 1), (4, 0.1, 0), (15, 0.1, 2), (25, 0.1, 3), (240, 0.1, 24)],
)
def test_halves_round_up(rows, fraction, expected):
    assert sampling.share(rows, fraction) == expected


def test_the_threshold_is_the_exact_decimal():
    assert sampling.threshold(0.5) == 2**63
    assert sampling.threshold(0.1) == Fraction(1, 10) * 2**64 // 1
    assert sampling.threshold(1e-9) == 2**64 // 10**9


@pytest.mark.parametrize(
    ("natural", "rows", "size", "fits", "decided_by"),
    [
        (2, 3, 90, True, "least"),
        (3, 3, 90, True, ""),
        (3, 3, 91, False, "bytes"),
        (9, 9, 90, True, ""),
        (10, 9, 90, True, "most"),
        (10, 10, 90, False, "most"),
        (6, 3, 45, True, ""),
        (6, 3, 46, True, "bytes"),
    ],
)
def test_a_limit_includes_itself(natural, rows, size, fits, decided_by):
    room = sampling.Room(3, 9, 90, "model", "least", "most", "bytes")
    assert room.fits(rows, size) is fits
    assert room.decided_by(natural, rows, size) == decided_by


def test_mix_is_the_published_finalizer():
    # The first outputs of SplitMix64 from seed 0 are mix(k * golden ratio).
    golden = 0x9E3779B97F4A7C15
    assert sampling.mix(golden) == 0xE220A8397B1DCDAF
    assert sampling.mix(2 * golden % 2**64) == 0x6E789E6AA1B965F4


@QUICK
@given(MANY_ROWS, st.integers(0, 2**64), st.integers(1, 40), st.integers(0, 60))
def test_below_keeps_the_limits(rows, limit, least, more):
    units, room = make(rows), sampling.Room(least, least + more)
    chosen = sampling.below(units, limit, room)
    natural = [i for i in range(len(rows)) if units.position[i] < limit]
    assert count(units, chosen) <= room.most
    if least <= count(units, natural) <= room.most:
        assert chosen == natural
    if all(r[1] == 1 for r in rows):
        wanted = min(max(len(natural), least), room.most, len(rows))
        assert chosen == list(range(wanted))


@QUICK
@given(MANY_ROWS, st.integers(0, 2**64), st.integers(1, 5))
def test_below_reaches_the_least_whenever_single_rows_allow(rows, limit, least):
    units = make(rows)
    chosen = sampling.below(units, limit, sampling.Room(least, least + 6))
    assert count(units, chosen) >= min(least, count(units, range(len(rows))))


@QUICK
@given(MANY_ROWS, st.integers(1, 30))
def test_growth_under_a_maximum_only_moves_rows_to_training(rows, most):
    rows = [(place, 1, label) for place, _, label in rows]
    half = rows[: max(1, len(rows) // 2)]
    before, after = make(half), make(rows)
    room = sampling.Room(1, most)
    old = {before.position[i] for i in sampling.below(before, 2**63, room)}
    new = {after.position[i] for i in sampling.below(after, 2**63, room)}
    natural = {place for place, *_ in half if place < 2**63}
    if len(natural) >= 1:
        assert new & set(before.position) <= old


@QUICK
@given(st.dictionaries(st.integers(0, 9), st.integers(1, 500), min_size=1), st.floats(0.01, 0.99))
def test_seats_are_all_given_and_each_share_is_within_one(totals, fraction):
    everything = sum(totals.values())
    seats = sampling.share(everything, fraction)
    given_ = sampling.apportion(totals, seats)
    assert sum(given_.values()) == seats
    for label, rows in totals.items():
        assert abs(given_[label] - Fraction(seats * rows, everything)) < 1
        assert 0 <= given_[label] <= rows


@QUICK
@given(MANY_ROWS, st.floats(0.05, 0.95))
def test_strata_of_single_rows_are_exact(rows, fraction):
    units = make([(place, 1, label) for place, _, label in rows])
    target = max(1, sampling.share(len(rows), fraction))
    chosen = sampling.stratified(units, target, sampling.Room(1, len(rows)))
    assert len(chosen) == target
    for label in set(units.label):
        mine = [i for i in range(len(rows)) if units.label[i] == label]
        taken = [i for i in chosen if units.label[i] == label]
        assert taken == mine[: len(taken)]
        assert abs(len(taken) - Fraction(target * len(mine), len(rows))) < 1


def test_strata_respect_the_bytes_allowed_and_top_up_what_whole_units_leave():
    units = make([(k, 1, k % 3) for k in range(90)])
    chosen = sampling.stratified(units, 30, sampling.Room(3, 90, most_bytes=125))
    assert len(chosen) == 12
    pairs = make([(k, 2, k % 5) for k in range(10)])
    assert count(pairs, sampling.stratified(pairs, 5, sampling.Room(5, 7))) == 6


def test_latest_takes_the_end_of_time_and_keeps_equal_times_in_order():
    units = make([(k, 1, k // 3) for k in range(9)])
    assert sampling.latest(units, 4, sampling.Room(1, 9)) == [6, 7, 8, 3]
    assert sampling.latest(units, 4, sampling.Room(5, 9)) == [6, 7, 8, 3, 4]


def test_a_unit_without_room_ends_a_choice_that_is_full_and_is_passed_over_before():
    units = make([(0, 3, 2), (1, 5, 1), (2, 1, 0)])
    for choose in (sampling.below, sampling.latest):
        assert choose(units, 2**64, sampling.Room(1, 7)) == [0]
        assert choose(units, 2**64, sampling.Room(4, 7)) == [0, 2]
    assert sampling.latest(units, 4, sampling.Room(1, 9)) == [0]
    strata = make([(0, 4, 0), (1, 3, 1), (2, 2, 1), (3, 1, 1)])
    for room in (sampling.Room(5, 6), sampling.Room(5, 9, most_bytes=60)):
        assert sampling.stratified(strata, 5, room) == [1, 2]


HASHES = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=8)


@st.composite
def tables(draw):
    n = draw(st.integers(1, 50))
    pool = draw(HASHES)

    def column():
        return array("Q", draw(st.lists(st.sampled_from(pool), min_size=n, max_size=n)))

    times = draw(st.lists(st.floats(0, 1e9), min_size=n, max_size=n))
    return column(), column(), column(), array("d", times)


@QUICK
@given(tables(), st.booleans(), st.booleans())
def test_rows_of_one_position_are_one_unit(table, labelled, timed):
    position, size, label, time = table
    size = array("Q", (v % 1000 for v in size))
    label = label if labelled else array("Q")
    time = time if timed else array("d")
    units = u.gather(position, size, label, time)
    assert units == u.gather(position, size, label, time, small=0)
    assert list(units.position) == sorted(set(position))
    for n, place in enumerate(units.position):
        members = [row for row, other in enumerate(position) if other == place]
        assert units.rows[n] == len(members)
        assert units.size[n] == sum(size[row] for row in members)
        if labelled:
            counts = Counter(label[row] for row in members)
            assert units.label[n] == min(counts, key=lambda value: (-counts[value], value))
        if timed:
            assert units.time[n] == min(time[row] for row in members)
    assert u.gather(array("Q"), array("Q"), array("Q"), array("d")).position == array("Q")


@QUICK
@given(tables())
def test_rows_that_share_an_input_or_a_group_are_one_unit(table):
    inputs, groups, *_ = table
    parts = []  # sets of rows, united as long as two of them share an input or a group
    for row in range(len(inputs)):
        near = [
            part
            for part in parts
            if any(inputs[row] == inputs[x] or groups[row] == groups[x] for x in part)
        ]
        parts = [part for part in parts if part not in near] + [{row}.union(*near)]
    unit = u.connect(inputs, groups)
    for part in parts:
        assert {unit[row] for row in part} == {sampling.mix(min(groups[row] for row in part))}


def test_a_long_chain_is_one_unit_and_strangers_are_not():
    inputs = array("Q", [k // 2 for k in range(4000)] + [10**6])
    groups = array("Q", [(k + 1) // 2 for k in range(4000)] + [10**7])
    unit = u.connect(inputs, groups)
    assert len(set(unit[:-1])) == 1
    assert unit[-1] != unit[0]
