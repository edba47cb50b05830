"""What a component's own lines do: the rest is a step's, and is tested there."""

import json

import pytest
from kfp import dsl

from tunepipe import components
from tunepipe.registry import champions

GEMINI = {"backend": "gemini", "model": "gemini-3.5-flash", "region": "us-central1", "epochs": 3.0}


def planned(folder, **inputs):
    pages = {"plan": dsl.Artifact(uri=str(folder / "plan")), "summary": dsl.Markdown(uri="")}
    pages["summary"] = dsl.Markdown(uri=str(folder / "summary"))
    return components.compute_train_steps.python_func(**pages, **inputs)


@pytest.mark.parametrize(
    ("tokens", "token_rows", "cost"),
    # 3 epochs at 10 USD a million tokens, of the 100 rows to learn from.
    [(10_000, 0, 0.30), (10_000, 100, 0.30), (10_000, 125, 0.24), (10_000, 1, 30.0)],
)
def test_the_tokens_of_the_rows_to_learn_from_are_paid(tmp_path, tokens, token_rows, cost):
    found = planned(tmp_path, rows=100, tokens=tokens, token_rows=token_rows, **GEMINI)
    assert found[2] == pytest.approx(cost)
    assert json.loads((tmp_path / "plan").read_text())["estimated_cost_usd"] == found[2]


def test_a_price_that_is_not_known_is_none_at_all(tmp_path):
    inputs = {"backend": "large-model", "model": "text-bison@001", "region": "europe-west4"}
    train_steps, batch_size, cost = planned(tmp_path, rows=100, train_steps=20, **inputs)
    plan = json.loads((tmp_path / "plan").read_text())
    assert (train_steps, batch_size, cost) == (20, plan["batch_size"], 0.0)
    assert plan["estimated_cost_usd"] is None


def test_the_champion_in_service_is_handed_on(tmp_path):
    registry, model = str(tmp_path / "registry"), tmp_path / "model"
    lookup = components.lookup_champion.python_func
    champion = dsl.Model(uri=str(tmp_path / "champion"))
    assert lookup(champion, registry) == ("", "")
    assert champion.metadata == {"resourceName": ""}
    model.mkdir()
    how = {"verdict": "better", "reason": "", "moved_at": "", "moved_by": ""}
    move = champions.promote(registry, str(model), run="r1", **how)
    assert lookup(champion, registry) == ("1", move.model)
    assert champion.metadata == {"resourceName": move.model}


def test_a_split_says_how_many_rows_there_are(tmp_path):
    rows = [{"input_text": f"q {n % 90}", "output_text": "a"} for n in range(100)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    names = {"train": dsl.Dataset, "eval": dsl.Dataset, "split": dsl.Artifact}
    ports = {name: kind(uri=str(tmp_path / name)) for name, kind in names.items()}
    metrics = dsl.Metrics(uri=str(tmp_path / "metrics"))
    found = components.split_dataset.python_func(
        **ports, metrics=metrics, dataset_uri=str(tmp_path / "rows.jsonl")
    )
    counts = [len((tmp_path / name).read_text().splitlines()) for name in ("train", "eval")]
    assert list(found) == counts
    assert sum(counts) == 100
    assert metrics.metadata == {
        "train_rows": counts[0], "eval_rows": counts[1], "groups": 90,
        "duplicate_rows_kept_together": 10,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "run_id", "told"), [("SUCCEEDED", "r1", "not sent"), ("FAILED", "", "not sent")]
)
def test_nobody_is_told_where_no_place_is_named(status, run_id, told):
    assert components.send_notice.python_func(status, run_id=run_id, job="j1") == told
