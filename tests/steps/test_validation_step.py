"""The step that checks a dataset: what it takes, and what its log says of bad data."""

import json
from pathlib import Path

import pytest
from kfp import compiler, dsl

from tunepipe import components
from tunepipe.errors import DataError, UsageError

GOOD = {"input_text": "a question", "output_text": "an answer"}
SECRET = "the text of a row is nobody's business"


def reports(folder):
    return (
        dsl.Artifact(uri=str(folder / "problems.json")),
        dsl.HTML(uri=str(folder / "page.html")),
        dsl.Metrics(uri=str(folder / "metrics")),
    )


def dataset(folder: Path, *rows) -> dsl.Dataset:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return dsl.Dataset(uri=str(folder / "rows.jsonl"))


def test_the_log_shows_the_first_errors_and_where_the_report_is(tmp_path, capsys):
    bad = [{"input_text": f"{SECRET} {n}"} for n in range(30)]
    rows = dataset(tmp_path, GOOD, *bad)
    with pytest.raises(DataError, match="30 errors in 31 rows"):
        components.validate_jsonl.python_func(*reports(tmp_path), dataset_uri=rows.path)
    log = capsys.readouterr().out
    assert "line 2: missing-field in output_text" in log
    assert "line 21: " in log
    assert "line 22: " not in log
    assert "… and 10 more errors" in log
    assert f"the whole report: {tmp_path / 'page.html'}" in log
    assert SECRET not in log


def test_the_most_frequent_errors_are_named_first(tmp_path):
    bad = [*[{"input_text": "a"}] * 18, {"input_text": 1, "output_text": "x"}, {"a": 1}]
    rows = dataset(tmp_path, GOOD, *bad)
    with pytest.raises(DataError) as caught:
        components.validate_jsonl.python_func(*reports(tmp_path), dataset_uri=rows.path)
    assert caught.value.found == (
        "22 errors in 21 rows (missing-field 20, wrong-type 1, extra-field 1)"
    )


@pytest.mark.parametrize(("count", "more"), [(20, ""), (21, "… and 1 more error\n")])
def test_the_log_says_how_many_more_errors_there_are(tmp_path, capsys, count, more):
    rows = dataset(tmp_path, GOOD, *[{"input_text": f"{n}"} for n in range(count)])
    with pytest.raises(DataError):
        components.validate_jsonl.python_func(*reports(tmp_path), dataset_uri=rows.path)
    log = capsys.readouterr().out
    assert (
        log
        == "".join(f"line {n + 2}: missing-field in output_text\n" for n in range(20))
        + f"{more}the whole report: {tmp_path / 'page.html'}\n"
    )


def test_an_artifact_of_another_step_is_taken_too(tmp_path):
    rows = dataset(tmp_path, GOOD)
    outputs = reports(tmp_path)
    found = components.validate_jsonl.python_func(*outputs, dataset=rows, model="tiny")
    assert found[:2] == (1, "palm")
    assert outputs[-1].metadata == {"rows": 1, "tokens": found[2], "warnings": 0}
    folder = tmp_path / "many"
    folder.mkdir()
    for name in "ab":
        row = {"input_text": name, "output_text": "x"}
        (folder / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    found = components.validate_jsonl.python_func(
        *reports(tmp_path), dataset=dsl.Dataset(uri=str(folder)), model="tiny"
    )
    assert found[0] == 2


@pytest.mark.parametrize("given", [{}, {"dataset_uri": "rows.jsonl", "dataset": True}])
def test_one_dataset_is_needed(tmp_path, given):
    if "dataset" in given:
        given = {**given, "dataset": dataset(tmp_path, GOOD)}
    with pytest.raises(UsageError, match="a step needs one dataset"):
        components.validate_jsonl.python_func(*reports(tmp_path), **given)


def test_the_components_follow_a_step_of_somebody_elses_pipeline(tmp_path):
    @dsl.component
    def make(data: dsl.Output[dsl.Dataset]):
        pass

    @dsl.pipeline(name="theirs")
    def theirs():
        made = make().outputs["data"]
        checked = components.validate_jsonl(dataset=made)
        split = components.split_dataset(dataset=made, format=checked.outputs["format"])
        components.compute_train_steps(
            train=split.outputs["train"], eval=split.outputs["eval"], backend="local"
        )

    compiler.Compiler().compile(theirs, str(tmp_path / "theirs.yaml"))


def test_the_plan_counts_the_rows_that_it_is_given(tmp_path):
    rows = dataset(tmp_path, *[{**GOOD, "input_text": str(n)} for n in range(40)])
    plan = dsl.Artifact(uri=str(tmp_path / "plan.json"))
    pages = {"plan": plan, "summary": dsl.Markdown(uri=str(tmp_path / "summary.md"))}
    compute = components.compute_train_steps.python_func
    compute(**pages, train=rows, backend="local", epochs=1.0)
    assert json.loads(Path(plan.path).read_text())["rows"] == 40
    assert (tmp_path / "summary.md").read_text().startswith("- ")
    with pytest.raises(UsageError, match="no rows to plan for"):
        compute(**pages, backend="local")
