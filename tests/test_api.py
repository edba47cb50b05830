"""The public API: what `import tunepipe` gives, on paths, lists of paths and DataFrames."""

import inspect
import json
import subprocess
import sys

import numpy
import pandas
import pytest

import tunepipe
from tunepipe.errors import DataError, LimitError, UsageError
from tunepipe.splitting.split import split
from tunepipe.validation.fix import fix
from tunepipe.validation.validate import validate

ROWS = [{"input_text": f"question {n}", "output_text": f"answer {n}"} for n in range(120)]
FRAME = pandas.DataFrame(ROWS)
ANSWERS = [
    {"id": str(n), "input": f"q {n}", "reference": "a b c", "prediction": "a b c" if n % 2 else "x"}
    for n in range(40)
]


@pytest.fixture
def rows(tmp_path):
    return jsonl(tmp_path / "rows.jsonl", ROWS)


def jsonl(path, values):
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return path


def test_the_names_are_the_api_and_each_is_documented():
    for name in tunepipe.__all__:
        thing = getattr(tunepipe, name)
        assert inspect.getdoc(thing), name
        assert name in dir(tunepipe)
        if inspect.isfunction(thing):
            arguments = set(inspect.signature(thing).parameters)
            described = inspect.getdoc(thing)
            assert all(f"{argument}:" in described for argument in arguments), name
    with pytest.raises(AttributeError, match="nothing"):
        tunepipe.nothing  # noqa: B018


def test_importing_it_loads_neither_the_api_nor_a_package():
    probe = (
        "import sys; before = set(sys.modules); import tunepipe; print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    loaded = {name for name in done.stdout.split() if not name.startswith(("typing", "_"))}
    assert {name.partition(".")[0] for name in loaded} <= set(sys.stdlib_module_names) | {
        "tunepipe"
    }
    assert "tunepipe.api" not in loaded


@pytest.mark.parametrize("kind", ["text", "path", "list", "glob", "frame"])
def test_a_dataset_is_a_path_a_list_a_glob_or_a_frame(rows, kind):
    dataset = {
        "text": str(rows), "path": rows, "list": [rows], "glob": f"{rows.parent}/*.jsonl",
        "frame": FRAME,
    }[kind]  # fmt: skip
    found = tunepipe.validate(dataset)
    assert (found.rows, found.passed) == (120, True)
    assert found.to_dict()["path"] == ("DataFrame" if kind == "frame" else str(rows))
    plan = tunepipe.plan(dataset, region="us-central1", model="gemini-2.5-flash")
    assert plan.to_dict()["rows"] == 120
    out = {"train": rows.parent / "t" / "train", "eval": rows.parent / "t" / "eval"}
    split = tunepipe.split(dataset, **out)
    assert split.train_rows + split.eval_rows == 120
    assert len(out["eval"].read_text().splitlines()) == split.eval_rows


def test_a_bare_path_works_everywhere(rows, tmp_path):
    copy = tmp_path / "fixed.jsonl"
    for path in (str(rows), rows):
        assert validate(path).rows == 120
        assert validate(path, against=path).counts["eval-leak"] == 120
        assert fix(path, copy).rows_written == 120
        assert split(path, tmp_path / "t.jsonl", tmp_path / "e.jsonl").eval_rows > 0


def test_problems_of_a_frame_name_its_rows_and_no_temporary_file():
    frame = pandas.DataFrame([*ROWS[:20], {"input_text": "q", "output_text": None}])
    found = tunepipe.validate(frame)
    assert not found.passed
    (problem,) = (one for one in found.problems if one.level == "error")
    assert (problem.line, problem.code, problem.path) == (21, "missing-field", "DataFrame")
    assert found.to_dict()["path"] == "DataFrame"
    with pytest.raises(DataError) as caught:
        tunepipe.split(frame, train="t.jsonl", eval="e.jsonl")
    assert caught.value.where.startswith("DataFrame")
    with pytest.raises(DataError) as caught:
        tunepipe.run(frame, backend="local")
    assert caught.value.where == "DataFrame"
    assert caught.value.fix == "see them: tunepipe validate DataFrame --model tiny"


def test_nested_columns_are_written_as_they_are():
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    frame = pandas.DataFrame({"messages": [messages] * 12, "weight": [1] * 12})
    assert tunepipe.validate(frame).to_dict()["format"] == "messages"


def test_every_cell_of_a_frame_is_written_as_plain_json(tmp_path):
    frame = FRAME[:20].assign(
        day=pandas.Timestamp("2026-11-27"), tags=[numpy.array([1, 2])] * 20,
        share=[0.5, float("nan")] * 10, note=["é", None] * 10, count=numpy.int64(3),
    )  # fmt: skip
    split = tunepipe.split(
        frame, train=tmp_path / "t", eval=tmp_path / "e", format="palm", model="any/model"
    )
    rows = [json.loads(line) for name in "te" for line in (tmp_path / name).open()]
    assert len(rows) == split.train_rows + split.eval_rows == 20
    more = {"day": "2026-11-27 00:00:00", "tags": [1, 2], "count": 3}
    for row in rows:
        number = int(row["input_text"].split()[1])
        assert row == ROWS[number] | more | ({} if number % 2 else {"share": 0.5, "note": "é"})
    assert "é" in (tmp_path / "t").read_text("utf-8") + (tmp_path / "e").read_text("utf-8")


def test_a_run_is_told_by_its_fields():
    run = tunepipe.Run("r", "succeeded", "better", "because", {"report": "r.html"}, "page")
    assert run.to_dict() == {
        "name": "r", "state": "succeeded", "verdict": "better", "reason": "because",
        "results": {"report": "r.html"}, "page": "page",
    }  # fmt: skip


def test_scores_come_with_the_verdict(tmp_path):
    predictions = jsonl(tmp_path / "tuned.jsonl", ANSWERS)
    base = pandas.DataFrame([{**answer, "prediction": "x"} for answer in ANSWERS])
    found = tunepipe.score(predictions, base)
    assert found.verdict == "better"
    assert found.metrics["accuracy"] == 0.5
    assert found.to_dict() == json.loads(json.dumps(found.to_dict()))
    assert tunepipe.score(str(predictions)).verdict == ""


def test_an_empty_cell_of_predictions_is_a_row_without_an_answer(tmp_path):
    answers = [{**each, "prediction": each["prediction"] if n % 4 else None, "note": None}
               for n, each in enumerate(ANSWERS)]  # fmt: skip
    file = jsonl(tmp_path / "tuned.jsonl", answers)
    for frame in (pandas.DataFrame(answers), pandas.read_json(file, lines=True)):
        assert tunepipe.score(frame).to_dict() == tunepipe.score(file).to_dict()
    lacking = pandas.DataFrame(ANSWERS).drop(columns="prediction")
    with pytest.raises(UsageError, match="the field prediction is missing"):
        tunepipe.score(lacking)


@pytest.mark.parametrize(
    ("call", "arguments", "fix"),
    [
        ("validate", {"max_problems": -1}, "a whole number, 0 or more"),
        ("validate", {"max_problems": 1.5}, "a whole number, 0 or more"),
        ("validate", {"workers": 257}, "a whole number, 0 to 256"),
        ("split", {"eval_min": -1}, "a whole number, 0 or more"),
        ("split", {"eval_min": 1.5}, "a whole number, 0 or more"),
        ("split", {"eval_max": -1}, "a whole number, 0 or more"),
        ("plan", {"train_steps": 1.5}, "a whole number, 0 to 1,000,000,000,000,000"),
        ("plan", {"train_steps": -1}, "a whole number, 0 to 1,000,000,000,000,000"),
        ("plan", {"epochs": -1}, "0 to 10,000"),
        ("run", {"epochs": -1}, "above 0"),
    ],
)
def test_an_argument_out_of_range_is_refused_by_its_name(rows, call, arguments, fix):
    ((name, value),) = arguments.items()
    others = {
        "split": {"train": rows.with_name("t"), "eval": rows.with_name("e")},
        "plan": {"region": "us-central1"},
        "run": {"backend": "local"},
    }.get(call, {})
    with pytest.raises(UsageError, match=f"{value} is out of range") as caught:
        getattr(tunepipe, call)(rows, **others, **arguments)
    assert (caught.value.where, caught.value.fix) == (name, fix)
    assert sorted(path.name for path in rows.parent.iterdir()) == ["rows.jsonl"]


def test_counts_may_be_numpy_integers(rows):
    assert tunepipe.plan(rows=numpy.int64(240), region="us-central1").train_steps == 300
    assert tunepipe.validate(rows, max_problems=numpy.int32(3)).passed


@pytest.mark.parametrize("files", [[], ["a.jsonl", "b.jsonl"]])
def test_scores_are_of_one_file(tmp_path, files):
    answers = jsonl(tmp_path / "tuned.jsonl", ANSWERS)
    for name, arguments in {"predictions": (files,), "baseline": (answers, files)}.items():
        with pytest.raises(UsageError, match=f"{len(files)} files in place of one") as refused:
            tunepipe.score(*arguments)
        assert (refused.value.where, bool(refused.value.fix)) == (name, True)


def test_every_result_shows_itself_with_its_texts_escaped(rows, tmp_path):
    bad = [*ROWS[:11], {"input_text": "q", "<script>": "a"}]
    results = [
        tunepipe.validate(pandas.DataFrame(bad)),
        tunepipe.split(rows, train=tmp_path / "<b>train", eval=tmp_path / "eval"),
        tunepipe.plan(rows=240, region="us-central1"),
        tunepipe.score(pandas.DataFrame(ANSWERS), pandas.DataFrame(ANSWERS)),
        tunepipe.Run("run<1>", "failed", reason="<img>", results={"report": "r.html"}),
    ]
    for result in results:
        html = result._repr_html_()
        assert html.startswith('<div class="tunepipe">')
        assert html.count("<table>") == html.count("</table>") >= 1
        for markup in ("<script", "<b>train", "<1>", "<img"):
            assert markup not in html
        assert json.loads(json.dumps(result.to_dict())), result


def test_a_plan_is_refused_above_its_ceiling():
    assert tunepipe.plan(rows=240, region="us-central1").estimated_cost_usd == 36.1383
    with pytest.raises(LimitError):
        tunepipe.plan(rows=240, region="us-central1", max_cost_usd=36)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"regoin": "x"}, "did you mean region"),
        ({"backend": "gemini", "region": "us-central1", "project": "p"}, "max_cost_usd"),
        ({"backend": "local", "param": {"eval_mim": 3}}, "did you mean eval_min"),
        ({"backend": "local", "epochs": -1}, "above 0"),
    ],
)
def test_a_run_refuses_what_it_does_not_know_and_what_has_no_ceiling(rows, options, words):
    with pytest.raises(UsageError) as caught:
        tunepipe.run(rows, **options)
    assert words in f"{caught.value.where} {caught.value.fix}"


def test_it_is_the_command_as_a_module():
    command = [sys.executable, "-m", "tunepipe", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["tunepipe", tunepipe.__version__]
