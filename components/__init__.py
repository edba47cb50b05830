"""KFP components: thin shells over the core and the backends."""

from .changes import compare_data, find_changes, remember_data, report_unchanged
from .checking import check_cloud
from .comparison import compare_models
from .evaluation import evaluate_model
from .fingerprint import fingerprint_dataset
from .gemini import evaluate_gemini, tune_gemini
from .judge import judge_models
from .large_model import evaluate_large_model, tune_large_model
from .notification import record_outcome, send_notice
from .open_model import evaluate_open_model, tune_open_model
from .promotion import keep_champion, lookup_champion, promote_model
from .registry_evaluation import import_evaluation
from .report import write_report
from .rows import load_rows
from .sharding import list_shards, merge_validations, validate_shard
from .splitting import split_dataset
from .steps import compute_train_steps
from .tuning import tune_local
from .validation import validate_jsonl

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
