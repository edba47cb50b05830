"""Descriptions of the ports that many components share.

kfp reads a component's ports from its literal signature, so the names are repeated there; what they
mean is written here once. A component describes in its docstring only what differs.
"""

from __future__ import annotations

from typing import Any

DESCRIPTIONS = {
    # Data
    "dataset_uri": "A path, a gs:// URI, or a glob of either.",
    "dataset": "The same as an artifact of an earlier step, in place of dataset_uri.",
    "train": "The rows to learn from.",
    "eval": "The held-out rows.",
    "guard_uri": "Rows with prompts that must not get worse: a path, a gs:// URI, or a glob.",
    "guard": "The same as an artifact of an earlier step, in place of guard_uri.",
    "guard_fingerprint": "Their identity, from prepare_run; rows that changed since are refused.",
    "format": "The rows' format, or auto.",
    # Where and for whom
    "project": "The project that pays.",
    "region": "Where everything runs.",
    "run": "Texts that name the run: id, created, backend, base_model, region, title.",
    "run_id": "The run; empty takes the job.",
    "job": "The job that the run is.",
    "tables": "Values that replace those of the package's dated tables.",
    # Models
    "model": "The tuned model.",
    "base": "The model before tuning.",
    "champion": "The model in service, by its name.",
    "first": "The first champion, by its name; empty if it is the champion, or none is needed.",
    "base_model": "The model to tune; empty takes the backend's default.",
    "display_name": "The name of the model, at most 128 characters.",
    # Tuning
    "train_steps": "Optimizer steps.",
    "learning_rate_multiplier": "Times the recommended rate; 1.0 is recommended.",
    "gcp_resources": "The job, in the form that Google's own components use.",
    "tuning": "What is known of the tuning, as JSON.",
    # Evaluation
    "max_output_tokens": "The longest answer, in tokens.",
    "work_dir": (
        "A folder where answers are kept as they come; a killed step continues from there and pays "
        "for no row twice. Empty keeps them next to the predictions."
    ),
    "predictions": "A JSON object a line: id, input, reference, prediction.",
    "base_predictions": "The base model's.",
    "champion_predictions": "The champion's.",
    "first_predictions": "The first champion's.",
    "guard_predictions": "The tuned model's on the guarded rows.",
    "guard_base_predictions": "The base model's on them.",
    "metrics": "Rows, unanswered rows and exact matches of each model.",
    "rows": "Number of rows that the tuned model was asked.",
    "unanswered": "Number of them without an answer.",
    # Comparison
    "task": "text, classification, json, calls, or auto.",
    "margin": "Largest acceptable loss against the champion, 0 to 1.",
    "guard_margin": (
        "Largest acceptable loss on the guarded rows, 0 to 1; 0 refuses only a loss that is shown."
    ),
    "tuned": "Predictions of the tuned model.",
    "comparison": "The comparison of compare_models.",
    "problems": "The report of validate_jsonl.",
    "split": "The report of split_dataset.",
    "plan": "The plan of compute_train_steps.",
    # Pages
    "report": "One page that opens anywhere and needs nothing else.",
    "summary": "The same in short, for chats and pull requests.",
    "model_card": "A card in the shape that model hubs read.",
}


def describe_ports(spec: Any) -> None:
    """Complete the descriptions of a component's ports, in place."""
    for ports in (spec.inputs or {}, spec.outputs or {}):
        for name, port in ports.items():
            port.description = port.description or DESCRIPTIONS.get(name)
