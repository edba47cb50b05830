"""The model card: Markdown with Hugging Face's front matter, from the facts of a run.

It says what is known and that the rest is not; a licence in particular is the owner's to state.
Front matter: https://huggingface.co/docs/hub/model-cards (November 2026).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tunepipe.reporting.formatting import between, clean, count, finite, part
from tunepipe.reporting.sections import training_pairs, verdict, whole_metrics
from tunepipe.reporting.summary import bullets, escaped, scores_markdown

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


def model_card(facts: Mapping[str, Any]) -> str:
    """Return the model card's text."""
    tuning = part(facts, "tuning")
    statistics = part(tuning, "statistics")
    said = verdict(facts)
    run = part(facts, "run")
    base = run.get("base_model")
    sections = [
        ("", f"# {escaped(facts.get('title') or 'Tuned model')}"),
        ("", escaped(statistics.get("note"))),
        ("", f"Tuned from {escaped(base)} by tunepipe." if base else "Tuned by tunepipe."),
        ("Evaluation", f"**{escaped(said['sentence'])}** {escaped(said['reason'])}"),
        ("", "\n\n".join(scores_markdown(facts))),
        ("Training", bullets(training_pairs(facts))),
        ("Training data", _data(facts)),
        ("Limits", _limits(facts)),
    ]
    body = [f"## {heading}\n\n{text}" if heading else text for heading, text in sections if text]
    return f"---\n{_front_matter(facts)}---\n\n" + "\n\n".join(body).rstrip() + "\n"


def _data(facts: Mapping[str, Any]) -> str:
    dataset, split = part(facts, "dataset"), part(facts, "split")
    rows, valid = finite(dataset.get("rows")), finite(dataset.get("valid_rows"))
    pairs = [
        ("Format", dataset.get("format")),
        ("Rows", None if rows is None else count(rows)),
        ("Rejected rows", None if rows is None or valid is None else count(rows - valid)),
        ("Training rows", count(split["train_rows"]) if "train_rows" in split else None),
        ("Held-out rows", count(split["eval_rows"]) if "eval_rows" in split else None),
        ("SHA-256 of the file", dataset.get("fingerprint")),
    ]
    return bullets([(label, value) for label, value in pairs if value])


def _limits(facts: Mapping[str, Any]) -> str:
    rows = finite(part(part(facts, "scores"), "tuned").get("rows"))
    held_out = "held-out rows of the same data" if rows is None else f"{count(rows)} held-out rows"
    return (
        f"The scores were measured on {held_out}, which come from the same source as the training "
        "rows: they say nothing of other texts. No licence and no intended use were stated; the "
        "model's owner has to add them. Bias and safety were not measured."
    )


def _front_matter(facts: Mapping[str, Any]) -> str:
    """YAML whose every value is written as JSON, which YAML reads, so nothing needs quoting."""
    run, dataset = part(facts, "run"), part(facts, "dataset")
    languages = [str(key) for key in part(part(dataset, "stats"), "languages")]
    local = run.get("backend") == "local"
    base = str(run.get("base_model") or "")
    metrics = whole_metrics(part(part(facts, "scores"), "tuned"))
    fields = {
        "language": [code for code in languages if _LANGUAGE.fullmatch(code) and code != "und"],
        "library_name": "transformers" if local else "",
        "pipeline_tag": "text-generation",
        "base_model": base if _HUB_NAME.fullmatch(base) else "",
        "tags": ["tunepipe", *([str(run["backend"])] if run.get("backend") else [])],
        "metrics": list(dict.fromkeys(_HUB_METRICS[n][0] for n in metrics if n in _HUB_METRICS)),
        "model-index": _model_index(facts),
    }
    return "".join(f"{key}: {_json(value)}\n" for key, value in fields.items() if value)


def _json(value: Any) -> str:
    return clean(json.dumps(value, ensure_ascii=False))


def _model_index(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    dataset = part(facts, "dataset")
    metrics = whole_metrics(part(part(facts, "scores"), "tuned"))
    rows = count(part(part(facts, "scores"), "tuned").get("rows"))
    values = []
    for name in metrics:
        found = part(metrics, name)
        if (number := finite(found.get("value"))) is None:
            continue
        kind, scale = _HUB_METRICS.get(str(name), (str(name), 1))
        interval = between(found.get("low"), found.get("high"))
        label = f"{str(name).replace('_', ' ')}, 95 % interval {interval} of 100, {rows} rows"
        values.append({"type": kind, "value": scale * number, "name": label})
    if not values:
        return []
    held_out = {
        "name": str(dataset.get("path") or "held-out rows"),
        "type": str(dataset.get("format") or "jsonl"),
    }
    result = {"task": {"type": "text-generation"}, "dataset": held_out, "metrics": values}
    return [{"name": str(facts.get("title") or "tuned model"), "results": [result]}]
