"""How help reads: commands and long lists of options in groups, and an example for each command."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from typer.core import TyperCommand, TyperGroup

# A command with more options than this shows them in groups.
_GROUP_FROM = 14
_GROUPS = {
    "Data": (
        *("dataset", "format", "eval_fraction", "eval_min", "eval_max", "group_by"),
        *("stratify_by", "by_time", "min_new_rows", "rows"),
    ),
    "Tuning": (
        *("backend", "model", "base_model", "accelerator", "epochs", "train_steps"),
        *("learning_rate_multiplier", "seed", "option", "param", "pipeline", "select_checkpoint"),
    ),
    "Evaluation": (
        *("task", "metric", "normalize", "missing", "slice_by", "margin", "require", "answers"),
        *("max_latency_ms", "max_cost_per_answer"),
    ),
    "Judge": ("judge", "judge_prompt", "judge_humans", "judge_decides"),
    "Place": (
        *("region", "project", "bucket", "kfp_host", "kfp", "service_account", "network"),
        *("encryption_key", "label", "persistent_resource"),
    ),
    "Code of the steps": ("image", "code", "wheelhouse"),
    "Cost": ("max_cost_usd", "max_hours", "tokenizer", "tokens", "hours", "tables"),
    "Schedule": ("name", "cron", "zone"),
    "Messages": ("notify", "email"),
}
# An example of each command.
_EXAMPLES = """
tunepipe validate rows.jsonl --report problems.html
tunepipe split rows.jsonl --train train.jsonl --eval eval.jsonl --group-by customer
tunepipe convert orders.csv rows.jsonl --to messages
tunepipe plan rows.jsonl --model gemini-3.5-flash --region us-central1
tunepipe run --dataset rows.jsonl --backend local
tunepipe runs --limit 5
tunepipe logs latest --step tune
tunepipe status latest --wait
tunepipe cancel 20261126-090000-1a2b3c --project my-project --region us-central1
tunepipe doctor --backend gemini --project my-project --region us-central1 --bucket gs://my-bucket
tunepipe tables --check
tunepipe compile --check
tunepipe score tuned.jsonl --baseline base.jsonl
tunepipe predict --model latest "Two cups of tea, please"
tunepipe champions --registry gs://my-bucket/tunepipe/registry/gemini
tunepipe promote latest --reason "support prefers it"
tunepipe rollback --registry runs/registry --reason complaints
tunepipe deploy gs://my-bucket/tunepipe/custom/KEY/model-1a2b --project my-project \
--region us-central1 --accelerator NVIDIA_L4:1
tunepipe undeploy projects/my-project/locations/us-central1/endpoints/123
tunepipe endpoints --project my-project --region us-central1
tunepipe costs --project my-project --region us-central1
tunepipe schedule apply --name weekly --cron "0 3 * * 1" --dry-run
tunepipe schedule list --project my-project --region us-central1
tunepipe schedule pause weekly
tunepipe schedule resume weekly
tunepipe schedule delete weekly
tunepipe schedule run-now weekly
""".strip().splitlines()


class Command(TyperCommand):
    """A command; its help ends with an example."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, then options, in groups where there are many."""
        params = [param for param in self.get_params(ctx) if param.get_help_record(ctx)]
        options = [param for param in params if param.param_type_name == "option"]
        _write(formatter, "Arguments", ctx, [param for param in params if param not in options])
        if len(options) > _GROUP_FROM:
            for title, names in _GROUPS.items():
                group = [param for param in options if param.name in names]
                _write(formatter, title, ctx, group)
                options = [param for param in options if param not in group]
        _write(formatter, "Options", ctx, options)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the example."""
        path = ctx.command_path
        example = next((line for line in _EXAMPLES if line.startswith(f"{path} ")), "")
        with formatter.section("Example"):
            formatter.write(f"{'':>{formatter.current_indent}}{example or path}\n")


class CommandGroup(TyperGroup):
    """A group of commands, which the help shows in groups."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands under the titles that they were registered with."""
        widest = max(map(len, self.commands), default=0)
        groups: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            title = getattr(command, "rich_help_panel", None)
            text = command.get_short_help_str(formatter.width - 6 - widest)
            group = groups.setdefault(title if isinstance(title, str) else "Commands", [])
            group.append((f"{name:<{widest}}", text))
        for title, rows in groups.items():
            with formatter.section(title):
                formatter.write_dl(rows)


def _write(formatter: Any, title: str, ctx: Any, params: Iterable[Any]) -> None:
    records = [param.get_help_record(ctx) for param in params]
    if records:
        with formatter.section(title):
            formatter.write_dl(records)
