"""KFP components: thin shells over the core and the backends."""

from tunepipe.components.data import (
    compare_data,
    find_changes,
    fingerprint_dataset,
    load_rows,
    remember_data,
    report_unchanged,
)
from tunepipe.components.evaluation import compare_models, import_evaluation, judge_models
from tunepipe.components.gemini import evaluate_gemini, tune_gemini
from tunepipe.components.local import evaluate_model, tune_local
from tunepipe.components.notification import record_outcome, send_notice
from tunepipe.components.open_model import evaluate_open_model, tune_open_model
from tunepipe.components.palm import evaluate_large_model, tune_large_model
from tunepipe.components.planning import check_cloud, compute_train_steps
from tunepipe.components.promotion import keep_champion, lookup_champion, promote_model
from tunepipe.components.reporting import write_report
from tunepipe.components.splitting import split_dataset
from tunepipe.components.validation import (
    list_shards,
    merge_validations,
    validate_jsonl,
    validate_shard,
)

__all__ = [
    "check_cloud",
    "compare_data",
    "compare_models",
    "compute_train_steps",
    "evaluate_gemini",
    "evaluate_large_model",
    "evaluate_model",
    "evaluate_open_model",
    "find_changes",
    "fingerprint_dataset",
    "import_evaluation",
    "judge_models",
    "keep_champion",
    "list_shards",
    "load_rows",
    "lookup_champion",
    "merge_validations",
    "promote_model",
    "record_outcome",
    "remember_data",
    "report_unchanged",
    "send_notice",
    "split_dataset",
    "tune_gemini",
    "tune_large_model",
    "tune_local",
    "tune_open_model",
    "validate_jsonl",
    "validate_shard",
    "write_report",
]
