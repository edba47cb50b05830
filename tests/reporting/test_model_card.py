"""The model card: front matter that Hugging Face reads, and a body that says what is known."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.fixtures.pages import hostile_facts, sample_facts
from tunepipe.reporting.model_card import model_card

BARE = {"title": "A run", "verdict": "worse", "reason": "It lost."}


def front_matter(card: str) -> Any:
    start, head, _ = card.split("---\n", 2)
    assert start == ""
    return yaml.safe_load(head)


def test_the_front_matter_of_the_sample_run():
    head = front_matter(model_card(sample_facts()))
    assert head["language"] == ["en", "ja"]
    assert head["library_name"] == "transformers"
    assert head["base_model"] == "Qwen/Qwen3-0.6B"
    assert head["tags"] == ["tunepipe", "local"]
    assert "license" not in head
    (entry,) = head["model-index"]
    (result,) = entry["results"]
    exact = next(m for m in result["metrics"] if m["type"] == "object_exact")
    assert exact["value"] == pytest.approx(76 / 96, abs=0.001)
    assert exact["name"].startswith("object exact, 95 % interval 70.0–86.1 of 100, 96 rows")
    assert not any(m["type"].startswith("field:") for m in result["metrics"])


@pytest.mark.parametrize("revision", ["", "@main", "@0f1e2d3c"])
def test_the_base_of_a_revision_is_its_repository(revision):
    card = model_card({**BARE, "run": {"base_model": f"Qwen/Qwen3-0.6B{revision}"}})
    assert front_matter(card)["base_model"] == "Qwen/Qwen3-0.6B"
    assert f"Tuned from Qwen/Qwen3-0.6B{revision} by tunepipe." in card


def test_hugging_faces_own_reader_takes_it():
    hub = pytest.importorskip("huggingface_hub", reason="pip install tunepipe[local]")
    data = hub.ModelCardData(**front_matter(model_card(sample_facts())))
    assert data.model_name == "Order memos, a sample report"
    assert {result.metric_type for result in data.eval_results} >= {"object_exact", "parses"}
    assert data.eval_results[0].dataset_type == "palm"


def test_the_body_says_what_is_known_and_what_is_not():
    card = model_card(sample_facts())
    for text in (
        "# Order memos, a sample report\n",
        "Tuned from Qwen/Qwen3-0.6B by tunepipe.",
        "**The tuned model is better.**",
        "- Fingerprint: 9c1d5a0f",
        "- Steps done: 330",
        "measured on 96 held-out rows",
        "No licence and no intended use were stated",
    ):
        assert text in card


def test_the_least_there_is_makes_a_card():
    card = model_card(BARE)
    assert front_matter(card) == {"pipeline_tag": "text-generation", "tags": ["tunepipe"]}
    assert "**The tuned model is worse.** It lost." in card


@pytest.mark.parametrize(
    ("base", "kept"),
    [
        ("Qwen/Qwen3-0.6B", True),
        ("text-bison@001", False),
        ("", False),
        ("/data/model", False),
        ("a/b/c", False),
        ("../b", False),
    ],
)
def test_only_a_name_on_the_hub_is_a_base_model(base, kept):
    head = front_matter(model_card(BARE | {"run": {"base_model": base}}))
    assert ("base_model" in head) == kept


def test_a_card_names_no_folder_of_this_machine():
    facts = sample_facts()
    facts["run"] |= {"base_model": "/home/alice/models/base-4b/"}
    facts["plan"] |= {"model": "/home/alice/models/base-4b"}
    facts["tuning"] |= {"model": "/home/alice/runs/1/model"}
    card = model_card(facts)
    assert "alice" not in card
    assert "Tuned from base-4b by tunepipe." in card
    assert "- Planned model: base-4b" in card


def test_hostile_texts_cannot_leave_the_front_matter_or_their_line():
    card = model_card(hostile_facts())
    card.encode("utf-8")
    assert set(front_matter(card)) <= {
        "language", "library_name", "pipeline_tag", "base_model", "tags", "metrics", "model-index",
    }  # fmt: skip
    body = card.split("---\n", 2)[2]
    assert "<script>" not in body.replace(r"\<script\>", "")
    headings = [line for line in body.splitlines() if line.startswith("#")]
    assert headings[1:] == ["## Evaluation", "## Training", "## Training data", "## Limits"]


def test_metrics_have_the_hubs_names_and_scales():
    facts = sample_facts(0)
    values = {"bleu": 0.312, "rouge_l": 0.5, "macro_f1": 0.7, "answered": 1.0}
    facts["scores"]["tuned"]["metrics"] = {
        name: {"value": value, "low": 0.1, "high": 0.9} for name, value in values.items()
    }
    head = front_matter(model_card(facts))
    assert head["metrics"] == ["bleu", "rouge", "f1"]
    (entry,) = head["model-index"]
    found = {metric["type"]: metric["value"] for metric in entry["results"][0]["metrics"]}
    assert found == {"bleu": 31.2, "rouge": 0.5, "f1": 0.7, "answered": 1.0}
