"""The split: what must hold for every order, size, block and process, and what it refuses."""

import gzip
import hashlib
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunepipe.catalog.catalog import load_catalog
from tunepipe.data import rows as reading
from tunepipe.disk_array import CHUNK, DiskArray
from tunepipe.errors import DataError, UsageError
from tunepipe.splitting import assignment, row_keys
from tunepipe.splitting import split as splitting
from tunepipe.splitting.assignment import sides
from tunepipe.splitting.sampling import Room
from tunepipe.splitting.scan import Criteria, scan
from tunepipe.splitting.split import split
from tunepipe.validation.validate import validate

QUICK = settings(max_examples=15)
FREE = {"eval_min": 0, "model": "any/local-model"}


def write(path, rows):
    path.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    return path


def pairs(count, **more):
    return [
        {"input_text": f"question {k}", "output_text": f"answer {k % 7}"}
        | {name: values[k % len(values)] for name, values in more.items()}
        for k in range(count)
    ]


def run(folder, rows, **options):
    """Split rows and give the report and both sides, each in its file's order."""
    source = rows if isinstance(rows, Path) else write(folder / "data.jsonl", rows)
    train, evaluation = folder / "out" / "train.jsonl", folder / "out" / "eval.jsonl"
    report = split(source, train, evaluation, **options)
    sides = [
        [json.loads(line) for line in path.read_bytes().splitlines()]
        for path in (train, evaluation)
    ]
    assert [report.train_rows, report.eval_rows] == list(map(len, sides))
    assert report.leak.inputs_in_both == report.leak.groups_in_both == 0
    return report, *sides


def texts(rows):
    return [row["input_text"] for row in rows]


# --- a side depends on the row, the seed and the fraction alone


@QUICK
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
        min_size=40,
        max_size=80,
    ),
    st.floats(0.2, 0.8),
    st.integers(-5, 2**70),
    st.randoms(use_true_random=False),
)
def test_a_side_is_the_keyed_hash_below_the_fraction(tmp_path, words, fraction, seed, chance):
    rows = [{"input_text": f"{w}{k % 50}", "output_text": "x"} for k, w in enumerate(words)]
    _, train, evaluation = run(tmp_path, rows, eval_fraction=fraction, seed=seed, **FREE)

    def below(text):
        place = xxhash.xxh3_64_intdigest(text.encode(), seed % 2**64)
        return Fraction(place, 2**64) < Fraction(repr(fraction))

    natural = [text for text in texts(rows) if below(text)]
    if 1 <= len(natural) < len(rows):
        assert texts(evaluation) == natural
    chance.shuffle(rows)
    _, train_again, evaluation_again = run(
        tmp_path, rows, eval_fraction=fraction, seed=seed, **FREE
    )
    assert sorted(texts(evaluation)) == sorted(texts(evaluation_again))
    assert sorted(texts(train)) == sorted(texts(train_again))


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_no_row_changes_side_when_the_data_grow(tmp_path, seed):
    rows = pairs(900)
    _, _, few = run(tmp_path, rows[:300], seed=seed, **FREE)
    _, _, many = run(tmp_path, rows, seed=seed, **FREE)
    assert texts(many)[: len(few)] == texts(few)
    assert 60 < len(many) < 120


def test_seeds_differ_and_are_repeatable(tmp_path):
    found = {
        seed: [texts(run(tmp_path, pairs(200), seed=seed)[2]) for _ in range(2)] for seed in (1, 2)
    }
    assert found[1][0] == found[1][1] != found[2][0]


def test_many_files_split_as_one(tmp_path):
    rows = pairs(300)
    parts = [write(tmp_path / f"{k}.jsonl", rows[k::3]) for k in range(3)]
    train, evaluation = tmp_path / "t.jsonl", tmp_path / "e.jsonl"
    split(parts, train, evaluation)
    _, _, whole = run(tmp_path, rows)
    assert sorted(texts(map(json.loads, evaluation.read_text().splitlines()))) == sorted(
        texts(whole)
    )


def test_the_split_is_the_same_in_every_release(tmp_path):
    _, _, evaluation = run(tmp_path, pairs(600))
    assert (
        hashlib.sha256("\n".join(texts(evaluation)).encode()).hexdigest()[:16] == "526e8624b08eb932"
    )


def test_processes_agree_and_small_plain_splits_need_no_numpy(tmp_path):
    source = write(tmp_path / "data.jsonl", pairs(120, kind=["a", "b", "c"]))
    program = (
        "import sys; from tunepipe.splitting.split import split\n"
        "path, train, evaluation = sys.argv[1:]\n"
        "split(path, train, evaluation, model='m')\n"
        "assert 'numpy' not in sys.modules and 'pandas' not in sys.modules\n"
        "split(path, train, evaluation, stratify_by='kind', group_by='/(\\d)$/', model='m')\n"
    )
    found = set()
    for salt in ("1", "2"):
        out = [str(tmp_path / f"{name}{salt}.jsonl") for name in ("train", "eval")]
        command = [sys.executable, "-c", program, str(source), *out]
        subprocess.run(command, check=True, env={"PYTHONHASHSEED": salt})
        found.add(tuple(Path(path).read_bytes() for path in out))
    assert len(found) == 1


def test_more_rows_than_one_block_or_chunk_holds(tmp_path):
    count = CHUNK + 100
    source, train, evaluation = (tmp_path / name for name in ("data", "train", "eval"))
    lines = [b'{"input_text":"%d","output_text":"y"}\n' % k for k in range(count)]
    source.write_bytes(b"".join(lines))
    assert source.stat().st_size > 2 * reading.BLOCK
    place = {line: xxhash.xxh3_64_intdigest(b"%d" % k) for k, line in enumerate(lines)}

    split(source, train, evaluation, **FREE)
    chosen = [line for line in lines if place[line] < 2**64 // 10]
    assert evaluation.read_bytes() == b"".join(chosen)
    assert train.stat().st_size + evaluation.stat().st_size == source.stat().st_size

    split(source, train, evaluation, model="text-bison@001")
    smallest = sorted(chosen, key=place.__getitem__)[:256]
    assert set(evaluation.read_bytes().splitlines(keepends=True)) == set(smallest)


# --- rows are copied as they are


def test_rows_are_copied_byte_for_byte(tmp_path):
    lines = [
        b'{"input_text": "caf\\u00e9 %d",  "output_text":"x"}\r\n' % k
        if k % 2
        else '{"output_text":"お茶", "input_text":"日本\u2028 %d"}\n'.encode() % k
        for k in range(60)
    ]
    source = tmp_path / "data.jsonl"
    source.write_bytes(b"\n  \n".join(lines)[:-1])
    run(tmp_path, source)
    written = [
        line
        for name in ("train", "eval")
        for line in (tmp_path / "out" / f"{name}.jsonl").read_bytes().splitlines(keepends=True)
    ]
    assert Counter(written) == Counter(lines)


@pytest.mark.parametrize("block_bytes", [1, 2, 50, 4096])
def test_blocks_of_any_size_hold_the_same_lines(tmp_path, block_bytes):
    source = tmp_path / "data.jsonl"
    source.write_bytes(b'{"prompt":"a","completion":"b"}\n\n{"prompt":"c","completion":"d"}')
    lines, given_ = [], []
    for first, block in reading.blocks(source, block_bytes):
        assert first == len(lines) + 1
        lines += block
        given_ += reading.inputs(source, first, block, "prompt-completion")
    assert lines == [*source.read_bytes().splitlines(keepends=True)[:-1], lines[-1]]
    assert lines[-1].endswith(b"}\n")
    assert given_ == [b"a", b"c"]


def test_gzip_reads_as_what_it_holds_and_says_when_it_is_broken(tmp_path):
    plain = write(tmp_path / "data.jsonl", pairs(60))
    packed = tmp_path / "data.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert run(tmp_path, plain)[1:] == run(tmp_path, packed)[1:]
    whole = packed.read_bytes()
    for broken in (whole[:-20], whole[:60] + bytes(60) + whole[120:]):
        packed.write_bytes(broken)
        with pytest.raises(UsageError, match="its gzip data are broken"):
            run(tmp_path, packed)


# --- what must stay together


def test_equal_inputs_never_straddle_however_they_are_written(tmp_path):
    lines = []
    for k in range(150):
        lines.append(json.dumps({"input_text": f"é {k}", "output_text": "x"}))
        lines.append(f'{{"output_text": "other", "input_text": "\u00e9 {k}"}}')
    source = tmp_path / "data.jsonl"
    source.write_text("\n".join(lines), encoding="utf-8")
    report, train, evaluation = run(tmp_path, source)
    assert report.duplicate_rows_kept_together == 150
    assert report.groups == 150
    assert all(times == 2 for times in Counter(texts(evaluation)).values())
    assert not set(texts(train)) & set(texts(evaluation))


def test_a_number_is_one_group_however_it_is_written(tmp_path):
    rows = pairs(300, customer=[f"c{k}" for k in range(100)])
    rows += [
        {"input_text": f"seven {k}", "output_text": "x", "customer": (7, 7.0, "7")[k % 3]}
        for k in range(30)
    ]
    report, *sides = run(tmp_path, rows, group_by="customer", **FREE)
    assert report.groups == 101
    assert 30 in [sum(text.startswith("seven") for text in texts(side)) for side in sides]


@pytest.mark.parametrize("group_by", ["customer", "field:customer", r"/customer (\d+)/"])
def test_groups_never_straddle(tmp_path, group_by):
    rows = [
        {"input_text": f"order {k} of customer {k % 40}", "output_text": "x", "customer": k % 40}
        for k in range(400)
    ]
    report, train, evaluation = run(tmp_path, rows, group_by=group_by)
    customers = [{row["customer"] for row in side} for side in (train, evaluation)]
    assert not customers[0] & customers[1]
    assert report.groups == 40
    assert report.eval_rows % 10 == 0


def test_groups_that_share_an_input_are_one(tmp_path):
    rows = pairs(200, customer=[f"c{k}" for k in range(100)])
    rows += [{"input_text": "hello", "output_text": "x", "customer": f"c{k}"} for k in range(30)]
    report, train, evaluation = run(tmp_path, rows, group_by="customer", **FREE)
    assert report.groups == 71
    customers = [{row["customer"] for row in side} for side in (train, evaluation)]
    assert not customers[0] & customers[1]


def test_a_row_whose_pattern_matches_nothing_stands_alone_when_asked(tmp_path):
    rows = pairs(50) + [{"input_text": f"ask {k} c={k % 2}", "output_text": "x"} for k in range(50)]
    report, *_ = run(tmp_path, rows, group_by=r"/c=(\d)|$/", **FREE)
    assert report.groups == 52


# --- labels and time


@pytest.mark.parametrize("stratify_by", ["kind", "output"])
@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.07])
def test_each_label_gets_its_share_to_one_row(tmp_path, stratify_by, fraction):
    kinds = ["tea"] * 13 + ["rice"] * 6 + ["salt"]
    rows = [
        {"input_text": f"q {k}", "output_text": kinds[k % 20], "kind": kinds[k % 20]}
        for k in range(600)
    ]
    random.Random(1).shuffle(rows)
    report, _, evaluation = run(
        tmp_path, rows, stratify_by=stratify_by, eval_fraction=fraction, model="m"
    )
    taken = Counter(row["kind"] for row in evaluation)
    assert report.eval_rows == round(600 * fraction)
    for kind, rows_of_kind in Counter(row["kind"] for row in rows).items():
        assert abs(taken[kind] - Fraction(repr(fraction)) * rows_of_kind) < 1
        assert report.labels[kind] == {"train": rows_of_kind - taken[kind], "eval": taken[kind]}


@pytest.mark.parametrize(
    ("kinds", "characters", "reported"), [(50, 64, 50), (51, 64, 0), (50, 65, 0)]
)
def test_only_few_short_labels_are_reported(tmp_path, kinds, characters, reported):
    labels = [f"{k:0{characters}}" for k in range(kinds)]
    rows = [
        {"input_text": f"q {k}", "output_text": "a", "kind": labels[k % kinds]} for k in range(510)
    ]
    report, *_ = run(tmp_path, rows, stratify_by="kind")
    assert list(report.labels) == labels[:reported]


def test_conflicting_inputs_are_given_one_label_and_stay_together(tmp_path):
    rows = [
        {"input_text": f"q {k % 90}", "output_text": "yes" if k % 3 else "no"} for k in range(400)
    ]
    rows.append({"input_text": "q 1", "output_text": "perhaps"})
    report, *_ = run(tmp_path, rows, stratify_by="output")
    assert abs(report.eval_rows - 40) <= 4


def test_the_latest_rows_are_evaluation(tmp_path):
    days = [f"2026-{1 + k % 12:02}-{1 + k % 28:02}T10:00:00+09:00" for k in range(84)]
    report, train, evaluation = run(tmp_path, pairs(168, day=days), by_time="day")
    assert report.eval_rows == 17
    assert max(r["day"] for r in train) <= min(r["day"] for r in evaluation)
    assert report.time == {"cut": "2026-11-23T01:00:00+00:00", "train_rows_at_or_after": 1}


def test_an_input_seen_before_the_cut_stays_in_training(tmp_path):
    rows = pairs(100, at=list(range(100)))
    rows.append({**rows[0], "at": 500})
    report, train, _ = run(tmp_path, rows, by_time="at")
    assert texts(train).count("question 0") == 2
    assert report.time["train_rows_at_or_after"] == 1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (0, 0),
        (1.5, 1.5),
        ("1970-01-02", 86400),
        ("1970-01-01T09:00:01+09:00", 1),
        ("1970-01-01T00:00:02Z", 2),
    ],
)
def test_moments(value, seconds):
    assert row_keys.moment(value) == seconds


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a b", "a b"), (12, "12"), (12.0, "12"), (1.5, "1.5"), (10**30, "1" + "0" * 30),
        (True, "true"), ([2, 1], "[2,1]"), ({"b": 1, "a": "é"}, '{"a":"é","b":1}'),
    ],
)  # fmt: skip
def test_a_key_as_text(value, text):
    assert row_keys.key("field:f", "group_by")({"f": value}, "", "") == text


@pytest.mark.parametrize("value", [True, "soon", None, [], 10**400, 1e300, "17000000000000"])
def test_what_is_no_moment(value):
    with pytest.raises(DataError):
        row_keys.moment(value)


# --- the limits of the services


@pytest.mark.parametrize(
    ("rows", "options", "expected", "decided"),
    [
        (40, {}, 10, "eval_min 10"),
        (40, {"eval_min": 0}, 10, "text-bison@001 needs 10 evaluation rows"),
        (40, {"eval_min": 12}, 12, "eval_min 12"),
        (20, {}, 10, "eval_min 10"),
        (3000, {}, 256, "text-bison@001 takes 256 evaluation rows"),
        (3000, {"eval_max": 50}, 50, "eval_max 50"),
        (3000, {"eval_min": 50, "eval_max": 50}, 50, "eval_max 50"),
        (3000, {"eval_max": 5000}, 256, "text-bison@001 takes 256 evaluation rows"),
        (3000, {"stratify_by": "output"}, 256, "text-bison@001 takes 256 evaluation rows"),
        (3000, {"by_time": "at"}, 256, "text-bison@001 takes 256 evaluation rows"),
        (
            4000,
            {"model": "gemini-3.5-flash", "eval_fraction": 0.5},
            1000,
            "gemini-3.5-flash takes evaluation data of 30 % of training",
        ),
        (
            100,
            {"model": "qwen/qwen3@qwen3-4b", "eval_fraction": 0.5, "stratify_by": "output"},
            19,  # the quarter is of the bytes, too
            "qwen/qwen3@qwen3-4b takes evaluation data of 25 % of training",
        ),
        (2, {"eval_fraction": 0.001, **FREE}, 1, "an evaluation file is never empty"),
        (2, {"eval_fraction": 0.999, **FREE}, 1, "training needs 1 of the 2 rows"),
    ],
)
def test_limits_are_kept_and_said(tmp_path, rows, options, expected, decided):
    report, *_ = run(tmp_path, pairs(rows, at=list(range(rows))), **options)
    assert (report.eval_rows, report.limits["decided_by"]) == (expected, decided)


def test_a_users_own_limits_are_laid_over_ours(tmp_path):
    over = {"services": {"palm-text": {"evaluation": {"rows_max": 20}}}}
    report, *_ = run(tmp_path, pairs(500), catalog=load_catalog({"services": over}))
    assert report.eval_rows == 20


def test_the_bytes_of_an_open_models_evaluation_are_a_quarter_of_the_training(tmp_path):
    rows = [{"input_text": f"{k} " + "x" * (k % 9) ** 3, "output_text": "y"} for k in range(300)]
    for more in ({}, {"stratify_by": "output"}, {"group_by": r"/^(\d+)/"}):
        model = "meta/llama3_1@llama-3.1-8b"
        report, *_ = run(tmp_path, rows, model=model, eval_fraction=0.4, **more)
        assert "25 % of training" in report.limits["decided_by"]
        train, evaluation = ((tmp_path / "out" / f"{n}.jsonl") for n in ("train", "eval"))
        assert 0.2 < evaluation.stat().st_size / train.stat().st_size <= 0.25


@pytest.mark.parametrize(
    "more",
    [{}, {"stratify_by": "output"}, {"group_by": "group"}, {"by_time": "at"},
     {"group_by": "group", "stratify_by": "output"}],
)  # fmt: skip
@settings(deadline=None, max_examples=15, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32), fraction=st.sampled_from([0.05, 0.2, 0.4, 0.7]))
def test_bytes_bind_on_every_path(tmp_path, more, seed, fraction):
    chance = random.Random(seed)
    rows = [
        {
            "input_text": f"{k} " + "x" * int(chance.expovariate(1 / 300)),
            "output_text": chance.choice("yn"),
            "group": f"g{chance.randrange(150)}",
            "at": chance.randrange(10**6),
        }
        for k in range(200)
    ]
    model = "meta/llama3_1@llama-3.1-8b"
    run(tmp_path, rows, model=model, eval_fraction=fraction, eval_min=1, seed=seed, **more)
    train, evaluation = (
        (tmp_path / "out" / f"{n}.jsonl").stat().st_size for n in ("train", "eval")
    )
    assert 4 * evaluation <= train


def test_where_a_limit_binds_few_units_are_gathered(tmp_path):
    """The 20 wanted, ten times their deviation, and ten."""
    source = write(tmp_path / "data.jsonl", pairs(4000))
    with ExitStack() as stack:
        columns = scan([source], Criteria(0.5, 0, "palm"), stack)
        units, chosen = assignment._smallest(columns, 2**63, Room(1, 20), 20)
        places = sorted(columns.input.load())
    assert chosen == list(range(20))
    assert list(units.position) == [place for place in places if place < 2**64 * 70 // 4000]


def test_a_choice_goes_on_where_one_unit_is_most_of_the_rows(tmp_path):
    rows = [*pairs(40), *[{"input_text": "the same", "output_text": "x"}] * 300]
    seed = next(n for n in range(99) if xxhash.xxh3_64_intdigest(b"the same", n) >= 2**63)
    free = {**FREE, "eval_fraction": 0.5, "eval_max": 12}
    _, _, evaluation = run(tmp_path, rows, seed=seed, **free)
    ordered = sorted(texts(rows[:40]), key=lambda t: xxhash.xxh3_64_intdigest(t.encode(), seed))
    assert set(texts(evaluation)) == set(ordered[:12])
    assert len(evaluation) == 12


def test_bytes_are_blamed_where_they_bind_and_groups_where_those_do(tmp_path):
    short = [{"input_text": f"q {k}", "output_text": "y", "g": f"{k % 3}"} for k in range(20)]
    long = [{"input_text": f"{k}" * 900, "output_text": "y", "g": f"long {k}"} for k in range(4)]
    together = [{**row, "g": "one"} for row in short[:6]]
    model = "meta/llama3_1@llama-3.1-8b"
    with pytest.raises(DataError, match="an evaluation file of 2 rows would be larger than the"):
        run(tmp_path, long + together, model=model, eval_min=2, eval_max=2, group_by="g")
    with pytest.raises(DataError, match="stay together, and give no evaluation file"):
        run(tmp_path, short, model=model, eval_min=1, eval_max=2, group_by="g")


def test_a_pattern_that_would_never_end_is_refused(tmp_path):
    rows = [*pairs(40), {"input_text": "a" * 40 + "!", "output_text": "x"}]
    start = time.process_time()
    with pytest.raises(DataError, match="group_by: the pattern takes more than 1 s"):
        run(tmp_path, rows, group_by=r"/^(?:q|((?:a+)+$))/")
    assert time.process_time() - start < 5


def test_a_search_gives_back_the_callers_alarm_and_runs_in_any_thread(tmp_path):
    def alarm(*_):
        raise AssertionError

    before = signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, 100.0)
    pattern = row_keys.key(r"/q(\d)/", "group_by")
    try:
        with ThreadPoolExecutor(1) as pool:
            groups = [pattern({}, "q1", ""), pool.submit(pattern, {}, "q2", "").result()]
        assert groups == ["=1", "=2"]
        assert 90 < signal.getitimer(signal.ITIMER_REAL)[0] <= 100
        assert signal.getsignal(signal.SIGALRM) is alarm
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_group_too_large_for_the_limits_goes_to_training(tmp_path):
    rows = pairs(40) + [{"input_text": "the same", "output_text": "x"}] * 300
    for seed in range(5):
        _, train, _ = run(tmp_path, rows, seed=seed)
        assert texts(train).count("the same") == 300


# --- every format, and what is refused


@pytest.mark.parametrize(
    "make",
    [
        lambda q: {"input_text": q, "output_text": "a"},
        lambda q: {"prompt": q, "completion": "a"},
        lambda q: {"prompt": [{"role": "user", "content": q}],
                   "completion": [{"role": "assistant", "content": "a"}]},
        lambda q: {"context": "c", "messages": [{"author": "user", "content": q},
                                                {"author": "bot", "content": "a"}]},
        lambda q: {"messages": [{"role": "system", "content": "s"},
                                {"role": "user", "content": q},
                                {"role": "assistant", "content": "a"}]},
        lambda q: {"contents": [{"role": "user", "parts": [{"text": q}]},
                                {"role": "model", "parts": [{"text": "a"}]}]},
        lambda q: {"input": {"messages": [{"role": "user", "content": q}]},
                   "preferred_output": [{"role": "assistant", "content": "a"}],
                   "non_preferred_output": [{"role": "assistant", "content": "b"}]},
    ],
)  # fmt: skip
def test_every_format_splits(tmp_path, make):
    rows = [make(f"q {k // 2}") for k in range(200)]
    report, train, evaluation = run(tmp_path, rows)
    assert report.eval_rows + report.train_rows == 200
    assert report.groups == 100
    assert not {json.dumps(r) for r in train} & {json.dumps(r) for r in evaluation}


def test_plain_pairs_decode_alike_on_both_ways(tmp_path):
    rows = [
        {"input_text": t, "output_text": "x"} for t in ("a", "é", "\x01", "a\r\nb", "\U0001f600")
    ]
    source = write(tmp_path / "d.jsonl", rows)
    ((first, lines),) = reading.blocks(source)
    fast = reading.inputs(source, first, lines, "palm")
    slow = [row.input.encode() for row in reading.rows(source, first, lines, "palm")]
    assert fast == slow == [row["input_text"].encode() for row in rows]
    for blank in ({"input_text": " ", "output_text": "x"}, {"input_text": "x", "output_text": ""}):
        line = json.dumps(blank).encode() + b"\n"
        with pytest.raises(DataError, match=r"d.jsonl:1: .* has no text"):
            reading.inputs(source, 1, [line], "palm")


BAD = b'{"input_text": "a"}\n'
FEW = b'{"input_text": "a", "output_text": "x"}\n' * 8


@pytest.mark.parametrize(
    ("content", "options", "kind", "said"),
    [
        (BAD * 30, {}, DataError, "data.jsonl:1: the row is not of the format palm"),
        (b"{}\n", {}, DataError, "no row has the fields of a known format"),
        (b"\n\n", {}, DataError, "there is no row"),
        (b"", {}, DataError, "there is no row"),
        (b"[" * (33 << 20), {}, DataError, "there is no line of up to 32 MiB"),
        ("GOOD" + "[1]\n", {}, DataError, "data.jsonl:31: the line is not a JSON object"),
        ("GOOD\n\xff\n", {}, DataError, "data.jsonl:32: the bytes from byte 1 of the line are"),
        ("GOOD" + "[" * 9000 + "\n", {}, DataError, "data.jsonl:31: the line is not a JSON"),
        ("GOOD", {"group_by": "who"}, DataError, "data.jsonl:1: group_by: the row has no field"),
        ("GOOD", {"group_by": "/z(z)/"}, DataError, "data.jsonl:1: group_by: the pattern is not"),
        ("GOOD", {"by_time": "input_text"}, DataError, "data.jsonl:1: by_time: the field holds"),
        ("GOOD", {"group_by": "/z/"}, UsageError, "the pattern has 0 groups, not one"),
        ("GOOD", {"group_by": "//"}, UsageError, "the pattern has 0 groups, not one"),
        ("GOOD", {"group_by": "/"}, DataError, "data.jsonl:1: group_by: the row has no field"),
        ("GOOD", {"group_by": "/(z/"}, UsageError, "not a pattern"),
        ("GOOD", {"eval_fraction": 0.0}, UsageError, "must be between 0 and 1"),
        ("GOOD", {"eval_fraction": 1.0}, UsageError, "must be between 0 and 1"),
        ("GOOD", {"by_time": "a", "stratify_by": "b"}, UsageError, "cannot be combined"),
        ("GOOD", {"eval_min": 25}, DataError, "eval_min 25, but training needs 10 of the 30"),
        (FEW, {}, DataError, "8 rows: cannot split: eval_min 10, but training alone needs 10"),
        ("GOOD", {"eval_min": 0, "eval_max": 5}, DataError, "but eval_max 5"),
        # Wrong of any data: not these that do not pass.
        ("GOOD", {"eval_min": 9, "eval_max": 5}, UsageError, "eval_min 9 is above eval_max 5"),
        ("GOOD", {"format": "psalm"}, UsageError, "format: unknown format 'psalm'"),
        ("GOOD", {"group_by": "output_text"}, DataError, "rows: up to 30 belong together"),
        (FEW * 4, {"eval_max": 12}, DataError, "of 10 to 12 rows: up to 32 belong together"),
    ],
)  # fmt: skip
def test_what_is_refused_is_said_with_its_place_and_writes_nothing(
    tmp_path, content, options, kind, said
):
    good = b'{"input_text": "%d", "output_text": "x"}\n'
    if isinstance(content, str):
        content = content.encode("latin-1").replace(b"GOOD", b"".join(good % k for k in range(30)))
    source = tmp_path / "data.jsonl"
    source.write_bytes(content)
    with pytest.raises(kind) as caught:
        split(source, tmp_path / "t.jsonl", tmp_path / "e.jsonl", **options)
    assert said in str(caught.value)
    assert caught.value.fix or "no row" in said
    assert [path.name for path in tmp_path.iterdir()] == ["data.jsonl"]


def test_files_must_differ_and_exist(tmp_path):
    source = write(tmp_path / "data.jsonl", pairs(40))
    for train, evaluation in [(source, "e"), ("t", source), ("t", "t")]:
        with pytest.raises(UsageError, match="named twice"):
            split(source, train, evaluation)
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        split(tmp_path / "none.jsonl", tmp_path / "t", tmp_path / "e")


def test_rows_that_change_during_a_split_are_noticed_also_where_their_number_stays(tmp_path):
    source = write(tmp_path / "data.jsonl", pairs(60))
    train, evaluation = tmp_path / "train", tmp_path / "eval"
    criteria = Criteria(0.2, 0, "palm")
    with ExitStack() as stack:
        found = scan([source], criteria, stack)
        chosen = sides(found, criteria, Room(1, 30))
        changed = pairs(60)
        changed[7]["output_text"] += "!"
        for message, rows in {
            "the dataset changed during the split": changed,
            "the data changed while they were read": pairs(61),
        }.items():
            write(source, rows)
            with pytest.raises(DataError, match=message):
                splitting._write([source], chosen.marks, train, evaluation, found, criteria)
            assert not train.exists()
            assert not evaluation.exists()


@pytest.mark.parametrize("shared", ["inputs_in_both", "groups_in_both"])
def test_files_that_share_an_input_or_a_group_are_refused(tmp_path, shared):
    with ExitStack() as stack:
        found = scan([write(tmp_path / "data.jsonl", pairs(9))], Criteria(0.2, 0, "palm"), stack)
        proof = {"rows": 9, "checksum": f"{found.checksum:x}", "inputs_in_both": 0}
        proof |= {"train_inputs": 5, "eval_inputs": 4, "openings_in_both": 0, "groups_in_both": 0}
        splitting._prove(splitting.LeakReport(**proof), found)
        with pytest.raises(DataError, match="share inputs or groups"):
            splitting._prove(splitting.LeakReport(**{**proof, shared: 1}), found)


def test_leaks_are_found(tmp_path):
    one = write(tmp_path / "a.jsonl", pairs(50, who=["p", "q"]))
    other = write(tmp_path / "b.jsonl", pairs(60, who=["r", "s"])[45:] + pairs(1, who=["q"]))
    found = splitting.leaks(one, other, "palm", row_keys.key("who", "group_by"))
    assert (found.train_inputs, found.eval_inputs, found.inputs_in_both) == (50, 16, 6)
    assert found.groups_in_both == 1
    assert found.rows == 66


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 40), min_size=1), st.lists(st.integers(0, 40)))
def test_distinct_counts_alike_in_one_pass_or_many(one, other):
    with DiskArray() as first, DiskArray() as second:
        first.extend(one)
        second.extend(other)
        expected = len({*one, *other})
        assert splitting.count_distinct(first, second) == expected
        assert splitting.count_distinct(first, second, few=0, at_once=7) == expected
        assert first.load().tolist() == one


def test_conversations_that_begin_with_an_evaluation_row_are_refused(tmp_path):
    def chat(*texts, **more):
        roles = ("user", "assistant")
        turns = [{"role": roles[n % 2], "content": text} for n, text in enumerate(texts)]
        return {"messages": turns, **more}

    rows = []
    for k in range(60):  # each conversation once after its first answer and once after its second
        whole = (f"question {k}", f"answer {k}", "and then?", f"more {k}")
        rows += [chat(*whole[:2], labels={"id": k}), chat(*whole, labels={"id": k})]
    (tmp_path / "out").mkdir()
    written = tmp_path / "out" / "train.jsonl", tmp_path / "out" / "eval.jsonl"
    for path in written:
        path.write_text("of an earlier split\n")
    with pytest.raises(DataError, match=r"begin with \d+ evaluation inputs?") as refused:
        run(tmp_path, rows, **FREE)
    assert refused.value.where == "group_by"
    assert {path.read_text() for path in written} == {"of an earlier split\n"}
    # Both find the same in all rows of a conversation; the second is the one of the documentation.
    first_question = r"/\A(?s:system: .*?\n\n(?=user: ))?(?:user: )?(.*)/"
    assert first_question in (Path(__file__).parents[2] / "docs" / "validation.md").read_text(
        encoding="utf-8"
    )
    for pattern in (r"/question (\d+)/", first_question):
        report, *_ = run(tmp_path, rows, group_by=pattern, **FREE)
        assert report.leak.openings_in_both == 0
        assert validate([written[0]], against=[written[1]]).errors == 0
