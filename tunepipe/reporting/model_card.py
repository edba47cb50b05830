"""The model card: Markdown with Hugging Face's front matter, from the facts of a run.

It says what is known and that the rest is not; a licence in particular is the owner's to state.
Front matter: https://huggingface.co/docs/hub/model-cards (November 2026).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tunepipe.reporting.facts import Facts, read_facts
from tunepipe.reporting.formatting import between, clean, count, plural
from tunepipe.reporting.sections import split_pairs, training_pairs, verdict, whole_metrics
from tunepipe.reporting.summary import bullets, escaped, scores_markdown
from tunepipe.reporting.validation_page import data_pairs

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# tunepipe's metric -> the Hub's, and the factor between their values; the Hub's BLEU goes to 100.
_HUB_METRICS = {
    "exact_match": ("exact_match", 1),
    "accuracy": ("accuracy", 1),
    "macro_f1": ("f1", 1),
    "bleu": ("bleu", 100),
    "chrf": ("chrf", 100),
    **{f"rouge_{kind}": ("rouge", 1) for kind in "12l"},
}
_LANGUAGE = re.compile(r"[a-z]{2,3}")


def model_card(facts: Mapping[str, Any] | Facts) -> str:
    """Return the model card's text."""
    facts = read_facts(facts)
    decision, base = verdict(facts), _published(facts.run.get("base_model", ""))
    # A card is published, and a path names folders of this machine.
    data = [pair for pair in data_pairs(facts.dataset) if pair[0] != "File"]
    # It lies in the folder of a model of this machine.
    pairs = [(label, text, _published(text)) for label, text in training_pairs(facts)]
    training = [(label, name) for label, text, name in pairs if label != "Model" or name == text]
    rows = facts.tuned.rows
    held_out = plural(rows, "held-out row") if rows else "held-out rows of the same data"
    limits = (
        f"The scores were measured on {held_out}, which come from the same source as the training "
        "rows: they say nothing of other texts. No licence and no intended use were stated; the "
        "model's owner has to add them. Bias and safety were not measured."
    )
    sections = [
        ("", f"# {escaped(facts.title or 'Tuned model')}"),
        ("", escaped(facts.tuning.statistics.note)),
        ("", f"Tuned from {escaped(base)} by tunepipe." if base else "Tuned by tunepipe."),
        ("Evaluation", f"**{escaped(decision['sentence'])}** {escaped(decision['reason'])}"),
        ("", "\n\n".join(scores_markdown(facts))),
        ("Training", bullets(training)),
        ("Training data", bullets([*data, *split_pairs(facts)])),
        ("Limits", limits),
    ]
    body = [f"## {heading}\n\n{text}" if heading else text for heading, text in sections if text]
    return f"---\n{_front_matter(facts)}---\n\n" + "\n\n".join(body).rstrip() + "\n"


def _published(model: str) -> str:
    """Return a model's name; of a folder of this machine the last part."""
    return model.rstrip("/").rpartition("/")[2] if model.startswith(("/", ".", "~")) else model


def _front_matter(facts: Facts) -> str:
    """YAML whose every value is written as JSON, which YAML reads, so nothing needs quoting."""
    languages = facts.dataset.stats.languages
    backend, base = facts.run.get("backend", ""), facts.run.get("base_model", "").split("@")[0]
    metrics = whole_metrics(facts.tuned.metrics)
    fields = {
        "language": [code for code in languages if _LANGUAGE.fullmatch(code) and code != "und"],
        "library_name": "transformers" if backend == "local" else "",
        "pipeline_tag": "text-generation",
        "base_model": base if _HUB_NAME.fullmatch(base) else "",
        "tags": ["tunepipe", *([backend] if backend else [])],
        "metrics": list(dict.fromkeys(_HUB_METRICS[n][0] for n in metrics if n in _HUB_METRICS)),
        "model-index": _model_index(facts),
    }
    lines = (f"{k}: {json.dumps(v, ensure_ascii=False)}\n" for k, v in fields.items() if v)
    return clean("".join(lines))


def _model_index(facts: Facts) -> list[dict[str, Any]]:
    tuned, dataset = facts.tuned, facts.dataset
    values = []
    for name, estimate in whole_metrics(tuned.metrics).items():
        kind, scale = _HUB_METRICS.get(name, (name, 1))
        interval = between(estimate.low, estimate.high)
        label = f"{name.replace('_', ' ')}, 95 % interval {interval} of 100, {count(tuned.rows)}"
        values.append({"type": kind, "value": scale * estimate.value, "name": f"{label} rows"})
    if not values:
        return []
    name = dataset.path.rpartition("/")[2] or "held-out rows"
    held_out = {"name": name, "type": dataset.format or "jsonl"}
    result = {"task": {"type": "text-generation"}, "dataset": held_out, "metrics": values}
    return [{"name": facts.title or "tuned model", "results": [result]}]
