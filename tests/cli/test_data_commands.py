import gzip
import json
import os
import shutil
import threading
from pathlib import Path

import pytest
import yaml

from tests import defects
from tests.standin.session import BUCKET
from tunepipe.cli.commands import validate
from tunepipe.cli.output import Output
from tunepipe.planning.plan import smallest_difference

ROOT = Path(__file__).parents[2]


def palm(count, start=0):
    return [
        {"input_text": f"question {n}", "output_text": f"answer {n % 3}"}
        for n in range(start, start + count)
    ]


def write(path, rows):
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    Path(path).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


BROKEN = [*palm(120), "not json", "", {"input_text": "no answer"}, palm(1)[0]]


def test_validate_passes_sound_data(said):
    write("rows.jsonl", palm(120))
    code, report, err = said("validate", "rows.jsonl", "--json")
    assert (code, err) == (0, "")
    assert (report["rows"], report["problems_total"], report["format"]) == (120, 0, "palm")
    code, report, err = said("validate", "rows.jsonl")
    assert (code, report) == (0, None)
    assert err.splitlines()[0] == "rows.jsonl: palm for text-bison@001"
    assert err.splitlines()[-1] == "passed"


def test_validate_names_every_problem(said):
    write("rows.jsonl", BROKEN)
    code, report, _ = said("validate", "rows.jsonl", "--json")
    assert code == 1
    assert [(problem["line"], problem["code"]) for problem in report["problems"]] == [
        (121, "not-json"),
        (122, "blank-line"),
        (123, "missing-field"),
        (124, "duplicate-row"),
    ]
    code, _, err = said("validate", "rows.jsonl")
    assert code == 1
    assert err.index("not-json") < err.index("blank-line")
    for words in ("line 121:", "line 123 output_text:", "line 124:", "2 errors", "did not pass"):
        assert words in err


def test_a_corrected_copy_has_no_row_that_did_not_pass(said):
    write("d.jsonl", [*palm(20), {"input_text": "mail me@example.com", "output_text": "sent"}])
    code, report, _ = said("validate", "d.jsonl", "--pii", "--fix", "f.jsonl", "--json")
    assert (code, report["fixed"]["rows_rejected"]) == (1, 1)
    assert said("validate", "f.jsonl", "--pii", "--json")[0] == 0
    assert (
        said("validate", "d.jsonl", "--fix", "f.jsonl", "--json")[1]["fixed"]["rows_rejected"] == 0
    )


def test_warnings_alone_pass(said):
    write("rows.jsonl", [*palm(120), ""])
    assert said("validate", "rows.jsonl")[0] == 0


def test_the_list_is_cut_and_the_counts_are_not(said):
    write("rows.jsonl", ["x"] * 50 + palm(120))
    code, report, _ = said("validate", "rows.jsonl", "--json", "--max-problems", "7")
    assert (len(report["problems"]), report["counts"]) == (7, {"not-json": 50})
    code, _, err = said("validate", "rows.jsonl", "--max-problems", "0")
    assert code == 1
    assert "error  not-json  50" in err


def test_every_problem_can_be_seen(said):
    Path("rows.jsonl").write_text("{\n" * 1200)
    code, found, _ = said("validate", "rows.jsonl", "--format", "palm", "--json")
    assert (code, len(found["problems"]), found["problems_total"]) == (1, 1000, 1200)
    code, found, shown = said("validate", "rows.jsonl", "--format", "palm", "--show-all", "--json")
    assert (code, len(found["problems"])) == (1, 1200)
    shown = said("validate", "rows.jsonl", "--format", "palm", "--show-all")[2]
    assert "line 1200: " in shown
    assert said("validate", "rows.jsonl", "--format", "palm", "--report", "p.html")[0] == 1
    assert "1200</th>" in Path("p.html").read_text()
    assert said("validate", "rows.jsonl", "--format", "palm", "--report", "p.sarif")[0] == 1
    assert len(json.loads(Path("p.sarif").read_text())["runs"][0]["results"]) == 1200


def test_people_see_the_first_of_each_code_and_how_many_more(said):
    write("rows.jsonl", ["x"] * 50 + palm(120))
    err = said("validate", "rows.jsonl")[2]
    assert [f"line {n}:" in err for n in (1, 2, 3, 4)] == [True, True, True, False]
    assert "47 more: --show-all or --report problems.html" in err


def test_globs_are_one_dataset(said):
    write("a.jsonl", palm(60))
    write("b.jsonl", palm(61, start=59))
    code, report, _ = said("validate", "*.jsonl", "--json")
    assert code == 0
    assert (report["rows"], report["counts"]) == (121, {"duplicate-row": 1})
    assert "b.jsonl:1: " in said("validate", "*.jsonl")[2]


def test_standard_input(said, monkeypatch, tmp_path):
    with write(tmp_path / "rows.jsonl", palm(120)).open() as file:
        monkeypatch.setattr("sys.stdin", file)
        code, report, _ = said("validate", "-", "--json")
    assert (code, report["rows"]) == (0, 120)


def test_held_out_rows_may_not_be_trained_on(said):
    write("train.jsonl", palm(120))
    write("eval.jsonl", palm(10, start=115))
    code, report, _ = said("validate", "train.jsonl", "--against", "eval.jsonl", "--json")
    assert (code, report["counts"]) == (1, {"eval-leak": 5})


def test_the_model_brings_its_limits(said):
    write("rows.jsonl", palm(20))
    code, report, _ = said("validate", "rows.jsonl", "--model", "code-bison@001", "--json")
    assert (code, report["model"]) == (0, "code-bison@001")
    code, report, _ = said("validate", "rows.jsonl", "--json")
    assert (code, report["model"]) == (0, "text-bison@001")
    assert said("validate", "rows.jsonl", "--format", "poetry")[0] == 2


@pytest.mark.parametrize("suffix", [".html", ".json"])
def test_validation_reports(said, suffix):
    write("rows.jsonl", BROKEN)
    code, report, _ = said("validate", "rows.jsonl", "--report", f"out/r{suffix}", "--json")
    assert code == 1
    text = Path(f"out/r{suffix}").read_text(encoding="utf-8")
    assert "missing-field" in text
    if suffix == ".json":
        assert json.loads(text) == report


def test_a_report_of_no_known_kind_is_refused_before_the_work(said):
    code, found, _ = said("validate", "no-such-file.jsonl", "--report", "r.pdf", "--json")
    assert code == 2
    assert "r.pdf" in found["error"]["where"]


def test_a_code_that_is_counted_but_not_listed_keeps_its_level(capfd):
    report = {
        "path": "x", "format": "", "model": "", "files": [{}], "rows": 1, "valid_rows": 0,
        "bytes": 1, "errors": 1, "problems_total": 1, "counts": {"not-json": 1}, "problems": [],
        "stats": {},
    }  # fmt: skip
    validate.show_problems(report, Output())
    err = capfd.readouterr().err
    assert "error  not-json  1" in err
    assert "of no known format" in err


LIMITS = """
[tables.services.services.palm-text]
input_tokens = 20000
evaluation = { rows_max = 12 }
"""


def test_the_users_limits_hold_for_mending_and_splitting_too(said):
    Path("tunepipe.toml").write_text(LIMITS)
    rows = palm(200)
    rows[0]["input_text"] = "tea " * 15_000
    write("rows.jsonl", rows)
    code, found, _ = said("validate", "rows.jsonl", "--fix", "mended.jsonl", "--json")
    assert (code, found["fixed"]["rows_written"], found["fixed"]["rows_rejected"]) == (0, 200, 0)
    sides = ("--train", "t.jsonl", "--eval", "e.jsonl", "--eval-fraction", "0.2")
    assert said("split", "rows.jsonl", *sides, "--json")[1]["eval_rows"] == 12


def test_split_writes_both_sides(said):
    write("rows.jsonl", palm(200))
    code, found, err = said(
        "split", "rows.jsonl", "--train", "t.jsonl", "--eval", "e.jsonl", "--json"
    )
    assert (code, err) == (0, "")
    assert list(found)[:5] == [
        "train_rows", "eval_rows", "duplicate_rows_kept_together", "groups", "seed",
    ]  # fmt: skip
    sides = [Path(name).read_text().splitlines() for name in ("t.jsonl", "e.jsonl")]
    assert [len(side) for side in sides] == [found["train_rows"], found["eval_rows"]]
    assert sorted([*sides[0], *sides[1]]) == sorted(Path("rows.jsonl").read_text().splitlines())
    err = said("split", "rows.jsonl", "--train", "t.jsonl", "--eval", "e.jsonl")[2]
    assert "no input is in both files" in err


def test_what_a_split_shows_is_of_its_different_inputs(said):
    sides = ("--train", "t.jsonl", "--eval", "e.jsonl", "--eval-fraction", "0.5", "--json")
    write("once.jsonl", palm(60))
    write("often.jsonl", palm(60) * 3)
    once, often = (said("split", name, *sides)[1] for name in ("once.jsonl", "often.jsonl"))
    assert often["eval_rows"] == 3 * once["eval_rows"]
    assert often["smallest_difference"] == once["smallest_difference"]


def test_split_from_standard_input_is_the_same_split(said, monkeypatch):
    write("rows.jsonl", palm(200))
    said("split", "rows.jsonl", "--train", "t.jsonl", "--eval", "e.jsonl", "--seed", "3")
    with Path("rows.jsonl").open() as file:
        monkeypatch.setattr("sys.stdin", file)
        said("split", "-", "--train", "t2.jsonl", "--eval", "e2.jsonl", "--seed", "3")
    assert Path("e2.jsonl").read_bytes() == Path("e.jsonl").read_bytes()


def pipe(rows: str) -> str:
    """Make a named pipe that gives a file's bytes once, as `<(cat rows.jsonl)` does."""
    path = Path("pipe")
    os.mkfifo(path)
    data = Path(rows).read_bytes()
    threading.Thread(target=path.write_bytes, args=[data], daemon=True).start()
    return path.name


@pytest.mark.parametrize(
    "command",
    [
        "validate {}",
        "validate train.jsonl --against {}",
        "plan {} --region us-central1",
        "split {} --train t.jsonl --eval e.jsonl",
        "convert {} converted.jsonl --to messages",
        "score {}",
    ],
)
def test_a_pipe_is_read_as_the_file_that_fills_it(said, command):
    write("train.jsonl", palm(60, start=100))
    answers = [{"id": "1", "reference": "a", "prediction": "a"}]
    rows = write("rows.jsonl", answers if command == "score {}" else palm(120))
    of_file = said(*command.format(rows).split(), "--json")
    of_pipe = said(*command.format(pipe(rows)).split(), "--json")
    assert of_pipe[0] == of_file[0] < 2
    assert json.dumps(of_pipe[1]).replace("pipe", rows) == json.dumps(of_file[1])


@pytest.mark.parametrize("name", ["-", "pipe"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("validate", "{}", "--fix", "fixed.jsonl"),
        ("validate", "{}", "--check-files"),
        ("run", "--backend", "local", "--dataset", "{}"),
        ("doctor", "--dataset", "{}"),
    ],
)
def test_what_is_read_again_is_no_pipe(said, arguments, name):
    os.mkfifo("pipe")
    code, found, _ = said(*(text.format(name) for text in arguments), "--json")
    assert (code, found["error"]["found"]) == (2, f"{name} can be read only once")


def test_a_plan_names_the_users_pipe_where_its_rows_are_broken(said):
    rows = write("rows.jsonl", [*palm(60), "not json"])
    warnings = said("plan", pipe(rows), "--region", "us-central1", "--json")[1]["warnings"]
    assert [text for text in warnings if text.endswith("see them: tunepipe validate pipe")]


def test_split_names_the_users_file_in_an_error(said, monkeypatch):
    write("rows.jsonl", [*palm(20), "not json"])
    with Path("rows.jsonl").open() as file:
        monkeypatch.setattr("sys.stdin", file)
        code, found, _ = said("split", "-", "--train", "t.jsonl", "--eval", "e.jsonl", "--json")
    assert code == 1
    assert found["error"]["where"].startswith("-")
    assert not Path("t.jsonl").exists()


def test_split_of_too_few_rows_is_refused(said):
    write("rows.jsonl", palm(12))
    assert said("split", "rows.jsonl", "--train", "t.jsonl", "--eval", "e.jsonl")[0] == 1


def test_plan_reads_the_dataset(said):
    write("rows.jsonl", palm(240))
    code, found, _ = said("plan", "rows.jsonl", "--region", "us-central1", "--json")
    assert (code, found["rows"], found["steps_per_epoch"]) == (0, 240, 30)
    paid = ("plan", "rows.jsonl", "--region", "us-central1", "--model", "gemini-3.5-flash")
    known = said(*paid, "--epochs", "100", "--json")[1]["estimated_cost_usd"]
    assert known > 0
    counted = said(*paid, "--epochs", "100", "--tokens", "100000", "--json")[1]
    assert counted["estimated_cost_usd"] == 100.0


@pytest.mark.parametrize("format", ["palm", "palm-chat", "gemini", "messages"])
def test_plan_takes_the_model_that_validate_takes(said, format):
    Path("rows.jsonl").write_bytes(b"\n".join(defects.sound_lines(format)))
    validated = said("validate", "rows.jsonl", "--json")[1]["model"]
    planned = said("plan", "rows.jsonl", "--region", "us-central1", "--json")[1]
    assert planned["model"] == validated
    assert planned["warnings"][-1].startswith("12 held-out rows show")  # what is refused comes last


def test_plan_keeps_no_ceiling_over_files_whose_tokens_nobody_knows(said):
    video = {"fileData": {"mimeType": "video/mp4", "fileUri": "gs://b/v.mp4"}}
    asked = {"role": "user", "parts": [video]}
    answers = [{"role": "model", "parts": [{"text": f"cat {n}"}]} for n in range(99)]
    write("d.jsonl", [{"contents": [asked, answer]} for answer in answers])
    asked = ("plan", "d.jsonl", "--model", "gemini-3.5-flash", "--region", "us-central1", "--json")
    code, found, _ = said(*asked)
    assert (code, found["estimated_cost_usd"]) == (0, None)
    assert found["warnings"][0] == "99 rows are few; 100 or more are recommended"
    assert found["warnings"][-2:] == [  # between them are those of the calendar
        "no cost is estimated: the dataset's tokens are not known: name the dataset, or give its"
        " characters; none are estimated of rows that point to files, and plan --tokens takes a"
        " count",
        "10 held-out rows show a difference of 74.4 points or more (80 % power, if the models"
        " differ on 20 % of them): smaller gains end as not-enough-evidence",
    ]
    assert said(*asked, "--max-cost-usd", "1")[0] == 3
    code, found, _ = said(*asked, "--max-cost-usd", "100", "--tokens", "1000000")
    assert (code, found["estimated_cost_usd"] > 1) == (0, True)


def test_plan_is_calibrated_by_a_tokenizer(said):
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.save("tokenizer.json")
    write("rows.jsonl", palm(240))
    paid = ("plan", "rows.jsonl", "--region", "us-central1", "--model", "gemini-3.5-flash")
    err = said(*paid, "--tokenizer", "tokenizer.json")[2]
    assert "calibrated on 200 rows with the tokenizer of tokenizer.json" in " ".join(err.split())
    Path("empty").mkdir()
    assert said(*paid, "--tokenizer", "empty")[0] == 2
    assert said(*paid, "--tokenizer", "service")[0] == 2
    assert said("plan", "--rows", "240", "--tokenizer", "tokenizer.json", *paid[2:])[0] == 2
    other = ("--model", "qwen/qwen3@qwen3-4b", "--tokenizer", "service")
    assert said("plan", "rows.jsonl", "--region", "us-central1", *other)[0] == 2


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ((), "the dataset has 2 errors; see them: tunepipe validate rows.jsonl"),
        (
            ("--format", "palm"),
            "the dataset has 2 errors; see them: tunepipe validate rows.jsonl --format palm",
        ),
        (
            ("--format", "messages"),
            "the dataset has 123 errors; see them: tunepipe validate rows.jsonl --format messages",
        ),
        (
            ("--model", "chat-bison@001"),
            "chat-bison@001 is not tuned on rows of the format palm; tunepipe convert IN OUT --to"
            " palm-chat, or another --model",
        ),
    ],
)
def test_plan_warns_of_data_that_would_not_pass(said, extra, reason):
    write("rows.jsonl", BROKEN)
    arguments = ("plan", "rows.jsonl", "--region", "us-central1", *extra)
    code, found, _ = said(*arguments, "--json")
    assert code == 0
    assert found["warnings"][-1] == f"a run would be refused: {reason}"
    assert f"a run would be refused: {reason}" in " ".join(said(*arguments)[2].split())


@pytest.mark.parametrize(
    ("rows", "model", "held_out"),
    [
        (30, "text-bison@001", 10),
        (2_560, "text-bison@001", 256),
        (100_000, "text-bison@001", 256),
        (100_000, "gemini-3.5-flash", 5_000),
        (100_000, "tiny", 10_000),
    ],
)
def test_plan_counts_no_more_held_out_rows_than_the_service_takes(said, rows, model, held_out):
    region = () if model == "tiny" else ("--region", "us-central1")
    arguments = ("plan", "--rows", str(rows), "--model", model, *region)
    found = said(*arguments, "--json")[1]
    assert found["eval_rows"] == held_out
    assert found["smallest_difference"] == smallest_difference(held_out)


@pytest.mark.parametrize("where", ["here", "in a bucket"])
def test_plan_says_what_decides_and_what_several_answers_cost(cloud, said, where):
    rows = [{"input_text": f"q {n}", "output_text": "yes" if n % 3 else "no"} for n in range(200)]
    write("rows.jsonl", rows)
    dataset = "rows.jsonl"
    if where == "in a bucket":
        shutil.copy(dataset, cloud.buckets / BUCKET / dataset)
        dataset = f"gs://{BUCKET}/{dataset}"
    plan = ("plan", dataset, "--region", "europe-west4", "--model", "gemini-3.5-flash")
    _, one, _ = said(*plan, "--json")
    _, three, _ = said(*plan, "--answers", "3", "--json")
    assert (one["metric"], one["eval_rows"], three["answers"]) == ("accuracy", 20, 3)
    assert one["metric_reason"] == (
        "the task is classification, because the references are 2 short texts, 100 times each"
    )
    assert three["evaluation_cost_usd"] == pytest.approx(3 * one["evaluation_cost_usd"])
    assert said(*plan, "--metric", "macro_f1", "--json")[1]["metric"] == "macro_f1"
    text = said(*plan, "--answers", "3")[2]
    assert "accuracy: the task is classification" in text
    assert "3 a row by each of 2 models, about 0." in text


def test_bad_rows_make_no_tuning_cheaper(said):
    paid = ("plan", "rows.jsonl", "--region", "us-central1", "--model", "gemini-3.5-flash")
    rows = [{"input_text": f"q {n} " + "tea " * 200, "output_text": "a " * 50} for n in range(90)]

    def price(broken):
        write("rows.jsonl", [f"{json.dumps(row)}{broken(n)}" for n, row in enumerate(rows)])
        return said(*paid, "--epochs", "100", "--json")[1]["estimated_cost_usd"]

    sound = price(lambda n: "")
    assert sound <= price(lambda n: "}" if n % 2 else "") < 1.5 * sound
    assert sound <= price(lambda n: "}" if n else "") < 1.5 * sound
    assert sound <= price(lambda n: "}") < 1.5 * sound


@pytest.mark.parametrize(
    ("model", "said_of_it"),
    [
        ("text-bison@01", "did you mean text-bison@001"),
        ("gemini-3.5-falsh", "did you mean gemini-3.5-flash"),
        ("gemini-9", "not in the table"),
        ("txt-bison", "did you mean text-bison"),
        ("qwen/qwen3@qwen3-5b", "did you mean qwen/qwen3@"),
        ("gpt2", ""),
        ("Qwen/Qwen3-4B", ""),
        ("my-bison", ""),
        ("projects/p/locations/us-central1/models/1", ""),
        ("gemini-3.5-flash", ""),
    ],
)
def test_a_typo_in_a_models_name_switches_no_limit_off(said, model, said_of_it):
    Path("my-bison").mkdir()
    write("rows.jsonl", palm(240))
    for arguments in (
        ("validate", "rows.jsonl"),
        ("split", "rows.jsonl", "--train", "t.jsonl", "--eval", "e.jsonl"),
    ):
        code, _, err = said(*arguments, "--model", model)
        assert code == (2 if said_of_it else 0)
        assert said_of_it in " ".join(err.split())


def test_plan_takes_a_dataset_or_a_number_of_rows(said):
    write("rows.jsonl", palm(240))
    assert said("plan", "rows.jsonl", "--rows", "240", "--region", "us-central1")[0] == 2


def predictions(path, right):
    rows = [
        {"id": str(n), "input": f"q{n}", "reference": f"a{n % 5}",
         "prediction": f"a{n % 5}" if n < right else "wrong"}
        for n in range(100)
    ]  # fmt: skip
    return write(path, rows)


def test_score_alone(said):
    predictions("tuned.jsonl", 90)
    code, found, _ = said("score", "tuned.jsonl", "--json")
    assert code == 0
    assert list(found)[:3] == ["rows", "metrics", "comparison"]
    assert found["metrics"]["accuracy"]["value"] == 0.9
    assert (found["task"], found["metric"], found["comparison"]) == (
        "classification",
        "accuracy",
        None,
    )
    err = said("score", "tuned.jsonl")[2]
    assert "classification (the references are 5 short texts, 20 times each); accuracy" in err
    assert "90.0" in err


@pytest.mark.parametrize(
    ("tuned", "baseline", "verdict", "code"),
    [(90, 20, "better", 0), (20, 90, "worse", 1), (50, 50, "not-enough-evidence", 0)],
)
def test_score_against_a_baseline(said, tuned, baseline, verdict, code):
    predictions("tuned.jsonl", tuned)
    predictions("base.jsonl", baseline)
    arguments = ("score", "tuned.jsonl", "--baseline", "base.jsonl")
    ended, found, _ = said(*arguments, "--json")
    assert (ended, found["comparison"]["verdict"]) == (code, verdict)
    assert f"{verdict}: " in said(*arguments)[2]


@pytest.mark.parametrize(
    ("tuned", "extra", "code"),
    [
        (90, ("--require", "better"), 0),
        (50, ("--require", "better"), 1),
        (50, ("--require", "not-worse"), 0),
        (50, ("--require", "not-worse", "--margin", "0.001"), 1),
        (50, ("--require", "not-worse", "--margin", "0.2"), 0),
        (20, ("--require", "not-worse"), 1),
        (90, ("--require", "perfect"), 2),
    ],
)
def test_a_required_verdict_sets_the_exit_code(said, tuned, extra, code):
    predictions("tuned.jsonl", tuned)
    predictions("base.jsonl", 50)
    assert said("score", "tuned.jsonl", "--baseline", "base.jsonl", *extra)[0] == code


def test_a_required_verdict_needs_a_baseline(said):
    predictions("tuned.jsonl", 50)
    assert said("score", "tuned.jsonl", "--require", "better")[0] == 2


def test_a_margin_shows_its_effect(said):
    predictions("tuned.jsonl", 50)
    predictions("base.jsonl", 50)
    arguments = ("score", "tuned.jsonl", "--baseline", "base.jsonl", "--margin", "0.2")
    _, found, _ = said(*arguments, "--json")
    assert (found["comparison"]["margin"], found["comparison"]["non_inferior"]) == (0.2, True)
    assert "a loss of more than 20.0 points is ruled out" in said(*arguments)[2]


def test_slices_and_groups_are_shown(said):
    rows = [
        {"id": str(n), "reference": "a", "prediction": "a" if n % 4 else "b", "topic": n % 2,
         "customer": n % 10}
        for n in range(60)
    ]  # fmt: skip
    write("tuned.jsonl", rows)
    extra = ("--slice-by", "topic", "--group-by", "customer")
    _, found, _ = said("score", "tuned.jsonl", *extra, "--json")
    assert (found["groups"], [each["value"] for each in found["slices"]]) == (10, ["0", "1", "a"])
    err = said("score", "tuned.jsonl", *extra)[2]
    assert "in 10 independent groups" in err
    assert "topic=1" in err


def test_a_file_is_its_own_baseline(said):
    predictions("tuned.jsonl", 50)
    found = said("score", "tuned.jsonl", "--baseline", "tuned.jsonl", "--json")[1]
    assert found["comparison"]["ties"] == 100


@pytest.mark.parametrize("baseline", ["", "base.jsonl"])
@pytest.mark.parametrize("suffix", [".html", ".md", ".json"])
def test_score_reports(said, baseline, suffix):
    predictions("tuned.jsonl", 90)
    predictions("base.jsonl", 20)
    extra = ("--baseline", baseline) if baseline else ()
    assert said("score", "tuned.jsonl", *extra, "--report", f"r{suffix}")[0] == 0
    text = Path(f"r{suffix}").read_text(encoding="utf-8")
    assert "accuracy" in text.lower()
    assert ("better" in text) or not baseline


def test_score_writes_each_report(said):
    predictions("tuned.jsonl", 90)
    reports = [f"r{suffix}" for suffix in (".html", ".md", ".json")]
    assert said("score", "tuned.jsonl", *(f"--report={path}" for path in reports))[0] == 0
    assert all("accuracy" in Path(path).read_text(encoding="utf-8") for path in reports)
    assert said("score", "tuned.jsonl", "--report", "r.md", "--report", "r.md")[0] == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("score", "nothing.jsonl"),
        ("score", "tuned.jsonl", "--report", "r.pdf"),
        ("score", "tuned.jsonl", "--task", "poetry"),
        ("score", "tuned.jsonl", "--margin", "5"),
        ("score", "tuned.jsonl", "--margin", "nan"),
        ("score", "tuned.jsonl", "--baseline", "tuned.jsonl", "--margin", "-0.1"),
        ("score", "tuned.jsonl", "--seed", "-1"),
        ("score", "*.jsonl"),
        ("convert", "tuned.jsonl", "out.jsonl", "--to", "poetry"),
        ("convert", "nothing.jsonl", "out.jsonl", "--to", "palm"),
        ("plan", "--rows", "240", "--region", "us-central1", "--task", "poetry"),
        ("plan", "--rows", "240", "--region", "us-central1", "--task", "poetry", "--metric=bleu"),
    ],
)
def test_wrong_usage(said, arguments):
    predictions("tuned.jsonl", 90)
    predictions("base.jsonl", 20)
    assert said(*arguments)[0] == 2


def test_convert_there_and_back(said):
    write("rows.jsonl", palm(20))
    assert said("convert", "rows.jsonl", "g.jsonl", "--to", "gemini")[0] == 0
    code, found, _ = said("convert", "g.jsonl", "back.jsonl", "--to", "palm", "--json")
    assert (code, found["written"]) == (0, 20)
    back = [json.loads(line) for line in Path("back.jsonl").read_text().splitlines()]
    assert back == palm(20)


def test_convert_says_which_rows_cannot(said):
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "q"}]
    turns.append({"role": "assistant", "content": "a"})
    write("rows.jsonl", [{"messages": turns[1:]}, {"messages": turns}])
    code, found, _ = said("convert", "rows.jsonl", "out.jsonl", "--to", "palm", "--json")
    assert (code, found["written"], found["refused"][0]["line"]) == (1, 1, 2)
    assert "line 2: " in said("convert", "rows.jsonl", "out.jsonl", "--to", "palm")[2]


def test_convert_a_table(said):
    Path("t.csv").write_text("question,answer\nお茶,tea\n", encoding="utf-8")
    columns = ("--input-column", "question", "--output-column", "answer")
    assert said("convert", "t.csv", "out.jsonl", "--to", "palm", *columns)[0] == 0
    assert json.loads(Path("out.jsonl").read_text("utf-8")) == {
        "input_text": "お茶",
        "output_text": "tea",
    }


def test_a_compressed_dataset_is_reported(said):
    data = "".join(json.dumps(row) + "\n" for row in palm(120)).encode()
    Path("rows.jsonl.gz").write_bytes(gzip.compress(data))
    code, report, _ = said("validate", "rows.jsonl.gz", "--json")
    assert (code, report["counts"]) == (1, {"compressed-file": 1})


def test_the_hook_runs_a_verb_that_is_there(said):
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    program, *verb = hook["entry"].split()
    write("rows.jsonl", BROKEN)
    assert program == "tunepipe"
    assert said(*verb, "rows.jsonl")[0] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("convert", "d.jsonl", "d.jsonl", "--to", "gemini"),
        ("convert", "d.jsonl", "link.jsonl", "--to", "gemini"),
        ("split", "d.jsonl", "--train", "./d.jsonl", "--eval", "e.jsonl"),
        ("split", "d.jsonl", "--train", "t.jsonl", "--eval", "./t.jsonl"),
        ("validate", "d.json", "--report", "d.json"),
        ("validate", "*.json", "--report", "./d.json"),
        ("validate", "d.jsonl", "--against", "d.json", "--report", "d.json"),
        ("validate", "d.jsonl", "--report", "r.json", "--report", "./r.json"),
        ("validate", "d.jsonl", "--against", "h.jsonl", "--fix", "h.jsonl"),
        ("validate", "d.jsonl", "--fix", "r.json", "--report", "r.json"),
        # The rows that cannot be mended go beside the copy.
        ("validate", "c.rejects.jsonl", "--fix", "c.jsonl"),
        ("score", "p.json", "--report", "p.json"),
        ("score", "d.jsonl", "--baseline", "p.json", "--report", "./p.json"),
        ("predict", "--model", "m", "--input", "d.jsonl", "--output", "link.jsonl"),
    ],
)
def test_nothing_is_written_over_what_is_read(said, tmp_path, arguments):
    write("d.jsonl", palm(60))
    for name in ("d.json", "h.jsonl", "c.rejects.jsonl", "p.json"):
        write(name, palm(60))
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "d.jsonl")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    code, found, _ = said(*arguments, "--json")
    assert code == 2
    assert "named twice" in found["error"]["found"]
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_dataset_may_be_mended_in_its_place(said, tmp_path):
    write("d.jsonl", [*palm(20), palm(1)[0]])
    code, found, _ = said("validate", "d.jsonl", "--fix", "d.jsonl", "--json")
    assert code == 0
    assert found["fixed"]["rows_written"] == 20
    assert len((tmp_path / "d.jsonl").read_text().splitlines()) == 20


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("input_text,output_text\na,b\n" * 9, "the file is CSV"),
        ('{"odd": 1}\n' * 20, "no row has the fields of a known format"),
    ],
)
def test_what_cannot_be_mended_keeps_its_report(said, tmp_path, text, words):
    (tmp_path / "d.jsonl").write_text(text)
    bare = said("validate", "d.jsonl", "--json")[1]
    code, found, _ = said("validate", "d.jsonl", "--fix", "f.jsonl", "--report", "r.json", "--json")
    assert code == 1
    assert found == bare | {"fixed": None}
    assert (tmp_path / "r.json").exists()
    assert not (tmp_path / "f.jsonl").exists()
    assert f"nothing was fixed: d.jsonl: {words}" in said("validate", "d.jsonl", "--fix", "f")[2]


def test_the_remedy_for_a_table_works(said, tmp_path):
    (tmp_path / "d.jsonl").write_text("input_text,output_text\n" + "a,b\n" * 20)
    found = said("validate", "d.jsonl", "--json")[1]
    assert found["problems"][0]["fix"] == "tunepipe convert reads CSV"
    assert said("convert", "d.jsonl", "o.jsonl", "--to", "palm")[0] == 0
    assert said("validate", "o.jsonl", "--json")[1]["rows"] == 20


@pytest.mark.parametrize(
    "arguments",
    [
        ("validate", "none.jsonl"),
        ("validate", "."),
        ("plan", "none.jsonl", "--region", "us-central1"),
        ("run", "--backend", "local", "--dataset", "none.jsonl", "--dry-run"),
        ("convert", "none.jsonl", "o.jsonl", "--to", "palm"),
        ("convert", "d.jsonl", "folder", "--to", "gemini"),
        ("validate", "d.jsonl", "--report", "folder.json"),
        ("score", "none.jsonl"),
        ("split", "d.jsonl", "--train", "folder", "--eval", "e.jsonl"),
        ("plan", "--rows", "240", "--region", "us-central1", "--tables", "none.toml"),
        ("status", "none"),
        ("endpoints",),
    ],
)
def test_a_file_that_is_not_there_has_a_remedy(said, tmp_path, arguments):
    write("d.jsonl", palm(60))
    for name in ("folder", "folder.json"):
        (tmp_path / name).mkdir()
    code, found, _ = said(*arguments, "--json")
    assert code == 2
    assert found["error"]["where"]
    assert found["error"]["fix"]
    assert "/." not in found["error"]["where"]


def test_every_command_says_the_same_of_a_missing_file(said):
    for arguments in (
        ("validate", "none.jsonl"),
        ("split", "none.jsonl", "--train", "t.jsonl", "--eval", "e.jsonl"),
        ("plan", "none.jsonl", "--region", "us-central1"),
        ("convert", "none.jsonl", "o.jsonl", "--to", "palm"),
        ("score", "none.jsonl"),
    ):
        assert said(*arguments, "--json")[1]["error"] == {
            "found": "cannot be read: No such file or directory",
            "where": "none.jsonl",
            "fix": "check the path; it is relative to the current directory",
            "exit_code": 2,
        }


def test_a_loss_in_a_declared_slice_decides_in_every_output(said):
    for name, right in (("tuned", range(75)), ("base", range(75, 100))):
        write(f"{name}.jsonl", [
            {"id": str(n), "reference": "ab"[n % 2], "topic": "old" if n < 75 else "new",
             "prediction": "ab"[n % 2] if n in right else "c"}
            for n in range(100)
        ])  # fmt: skip
    arguments = ("score", "tuned.jsonl", "--baseline", "base.jsonl", "--slice-by", "topic")
    code, found, _ = said(*arguments, "--json", "--report", "r.json")
    assert (code, found["verdict"], found["comparison"]["verdict"]) == (1, "worse", "better")
    reason = "The tuned model is worse in the slice topic=new."
    assert (found["reason"], json.loads(Path("r.json").read_text())["verdict"]) == (reason, "worse")
    assert f"worse: {reason}" in said(*arguments, "--report", "r.md")[2]
    assert f"The tuned model is worse.** {reason}" in Path("r.md").read_text(encoding="utf-8")


def test_a_report_pairs_each_of_several_answers_with_the_others_answer(said):
    for name, right in (("tuned", (0, 1)), ("base", (1,))):
        write(f"{name}.jsonl", [
            {"id": str(n), "answer": k, "reference": f"text {n}",
             "prediction": f"text {n}" if k in right else f"{name} errs"}
            for n in range(30) for k in range(3)
        ])  # fmt: skip
    arguments = ("score", "tuned.jsonl", "--baseline", "base.jsonl", "--report")
    assert said(*arguments, "r.md")[0] == 0
    text = Path("r.md").read_text(encoding="utf-8")
    assert "30 rows better, 60 the same, 0 worse" in text
    assert "30 rows better, 0 worse than the base model's" in text
    said(*arguments, "r.html")
    assert "7, answer 3" in Path("r.html").read_text(encoding="utf-8")
