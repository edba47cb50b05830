"""KFP components: signatures and port descriptions; the work is done in tunepipe.steps."""

from tunepipe.components.conclusion import conclude_run as conclude_run
from tunepipe.components.conclusion import send_notice, write_report
from tunepipe.components.custom import evaluate_custom, tune_custom
from tunepipe.components.evaluation import compare_models, import_evaluation, judge_models
from tunepipe.components.gemini import evaluate_gemini, tune_gemini
from tunepipe.components.local import evaluate_model, tune_local
from tunepipe.components.open_model import evaluate_open_model, tune_open_model
from tunepipe.components.palm import evaluate_large_model, tune_large_model
from tunepipe.components.palm import keep_template_model as keep_template_model
from tunepipe.components.palm import prepare_template as prepare_template
from tunepipe.components.planning import compute_train_steps
from tunepipe.components.preparation import check_cloud, fingerprint_dataset
from tunepipe.components.preparation import prepare_run as prepare_run
from tunepipe.components.promotion import lookup_champion, promote_model
from tunepipe.components.splitting import split_dataset
from tunepipe.components.validation import (
    list_shards,
    merge_validations,
    validate_jsonl,
    validate_shard,
)

# Without the steps of the package's own pipelines, which carry no code and are of no use alone.
__all__ = [
    "check_cloud",
    "compare_models",
    "compute_train_steps",
    "evaluate_custom",
    "evaluate_gemini",
    "evaluate_large_model",
    "evaluate_model",
    "evaluate_open_model",
    "fingerprint_dataset",
    "import_evaluation",
    "judge_models",
    "list_shards",
    "lookup_champion",
    "merge_validations",
    "promote_model",
    "send_notice",
    "split_dataset",
    "tune_custom",
    "tune_gemini",
    "tune_large_model",
    "tune_local",
    "tune_open_model",
    "validate_jsonl",
    "validate_shard",
    "write_report",
]
