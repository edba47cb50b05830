"""What a run does and where: the options that `run`, `schedule apply` and `tunepipe.run` share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from tunepipe.catalog.catalog import Catalog, load_catalog
from tunepipe.catalog.schema import Model
from tunepipe.cli import options
from tunepipe.cli.inputs import dataset_format
from tunepipe.data.source import refuse_streams
from tunepipe.errors import UsageError
from tunepipe.extras import require

if TYPE_CHECKING:
    from tunepipe.runs.vertex_request import VertexRun

LOCAL = "local"
# Options that go to the pipeline as they are.
_PARAMETERS = (
    *("format", "eval_fraction", "eval_min", "eval_max", "group_by", "stratify_by"),
    *("learning_rate_multiplier", "seed", "task", "metric", "margin", "answers", "notify"),
)

_JSON_PARAMETERS = ("tables", "options", "scoring")


@dataclass(frozen=True, kw_only=True)
class RunOptions(options.SplitOptions, options.ScoringOptions):
    """The options of a run; a program gives `label`, `param` and `option` as mappings.

    Options:
        dataset (DATASET): A path, a gs:// or s3:// URI, or a glob.
        bucket (gs://BUCKET): Where everything is kept, in the region.
        max_latency_ms (MS): Promote only if 95 % of the answers take at most this.
        max_cost_per_answer (USD): Promote only if an answer costs at most this, on average.
        max_hours (H): Cancel a tuning job that has not ended within H hours.
        service_account (EMAIL): The account that the run acts as.
        network (NAME): The VPC network that the run is peered with.
        encryption_key (NAME): The customer-managed key (CMEK).
        label (K=V): A label of the run; repeatable.
        param (K=V): Any other parameter of the pipeline; repeatable.
        option (K=V): Backend-specific option, e.g. lora_rank=16; repeatable.
        select_checkpoint: Ask each checkpoint rows set apart for it, and evaluate the best
            (Gemini).
        notify (PLACE): Tell a webhook how the run ends; PLACE keeps its address, which is a secret:
            projects/P/secrets/NAME, gs://, or a file where the run is here.
        email (ADDRESS): Vertex AI mails how the run ends; repeatable.
        pipeline (FILE): Run this compiled pipeline; see compile --template.
        image (IMAGE): Image with the package, by digest: the steps run on it and install nothing.
        code (CODE): Where the steps install the package from: a wheel's URL with #sha256=…, or
            'tunepipe==X --index-url=URL'. Default: a wheel in the bucket.
        wheelhouse (FOLDER): Upload the wheels of all that the steps need, so that no step asks an
            index; what the folder lacks is downloaded into it.
        persistent_resource (ID): Persistent resource of Vertex AI that the steps run on: they start
            in seconds.
    """

    dataset: str
    backend: str = ""
    region: str = ""
    project: str = ""
    bucket: str = ""
    base_model: options.BaseModel = ""
    accelerator: str = ""
    format: str = "auto"
    epochs: float | None = None
    train_steps: options.TrainSteps = None
    learning_rate_multiplier: float = 1.0
    answers: options.Count = 1
    max_latency_ms: float | None = None
    max_cost_per_answer: float | None = None
    seed: int = 0
    max_cost_usd: float | None = None
    max_hours: float | None = None
    tokenizer: str = ""
    tables: str = ""
    service_account: str = ""
    network: str = ""
    encryption_key: str = ""
    label: list[str] | None = None
    param: list[str] | None = None
    option: list[str] | None = None
    select_checkpoint: bool = False
    notify: str = ""
    email: list[str] | None = None
    pipeline: str = ""
    image: str = ""
    code: str = ""
    wheelhouse: str = ""
    persistent_resource: str = ""

    def resolve(self, tables: Mapping[str, Any], *, on_host: bool = False) -> VertexRun:
        """Check the options, and return the run that they describe.

        On a KFP host no model is loaded on this machine. Of a run whose backend is `local`, the
        backend and the parameters alone matter here.

        Raises:
            UsageError: An option out of range, or not of the form K=V; a setting that a step after
                the tuning would refuse.
        """
        from tunepipe.cli.token_counts import calibrated
        from tunepipe.evaluation.settings import check_settings

        refuse_streams([self.dataset], "dataset")
        # The format of the rows decides the model if none is named. With a backend all that needs
        # no dataset is checked before the rows are read: a bucket out of reach is waited for.
        catalog = load_catalog(tables)
        is_open = not (self.base_model or self.backend)
        model = self._find_model(catalog, read_rows=is_open)
        is_local = model.backend == LOCAL
        if is_local:
            require(*(() if on_host else ("local",)), "kfp", "score")
        else:
            require("vertex")
        from tunepipe.runs.vertex_request import VertexRun

        if self.email and is_local:
            raise UsageError(
                "--email is only supported on Vertex AI", where="--email", fix="--notify PLACE"
            )
        others = self._other_parameters()
        parameters = {
            "dataset_uri": self.dataset,
            **{name: getattr(self, name) for name in _PARAMETERS},
            "base_model": model.name,
            "epochs": options.positive(self.epochs, "epochs"),
            "train_steps": self.train_steps or 0,
            "max_cost_usd": options.positive(self.max_cost_usd, "max_cost_usd"),
            "tables": tables,
            "options": self._backend_options(is_local),
            "scoring": self._scoring(),
            **others,
        }
        for name in _JSON_PARAMETERS:
            if not isinstance(parameters[name], Mapping):
                raise UsageError("must be a mapping", where=name, fix='such as {"name": 1}')
        check_settings(parameters, model.backend, load_catalog(parameters["tables"]))

        # No format's first model is of these two.
        if not (self.base_model or is_open) and model.backend not in (LOCAL, "custom"):
            model = self._find_model(catalog, read_rows=True)
            parameters["base_model"] = others.get("base_model", model.name)
        parameters["tables"] = calibrated(
            parameters["tables"],
            self.tokenizer,
            [self.dataset],
            model=model,
            format=self.format,
            project=self.project,
            region=self.region,
            options=parameters["options"],
        )
        labels: Any = self.label
        if not isinstance(labels, Mapping):
            labels = dict(options.pair(text, "--label") for text in labels or ())
        changed: dict[str, Any] = {
            "backend": model.backend,
            "parameters": parameters,
            "labels": {name: str(value) for name, value in labels.items()},
            "emails": tuple(self.email or ()),
            "accelerator": self.accelerator if is_local else "",
        }
        names = {each.name for each in fields(VertexRun)} & vars(self).keys()
        return VertexRun(**{name: getattr(self, name) for name in names} | changed)

    def _find_model(self, catalog: Catalog, *, read_rows: bool) -> Model:
        format = dataset_format([self.dataset], self.format) if read_rows else ""
        name = self.base_model or catalog.default_model(format, self.backend)
        return catalog.find_model(name, self.backend)

    def _backend_options(self, is_local: bool) -> dict[str, Any]:
        """Return --option, and the options of their own that are sent with them."""
        values = options.pairs(self.option, "--option")
        if self.accelerator and not is_local:
            values = {"accelerator": self.accelerator, **values}
        if self.select_checkpoint:
            values["select_checkpoint"] = True
        if self.max_hours:
            values["max_hours"] = options.positive(self.max_hours, "max_hours")
        return values

    def _other_parameters(self) -> dict[str, Any]:
        parameters = options.pairs(self.param, "--param")
        for name in ("project", "region"):  # the plan and the request follow the option
            if name in parameters:
                raise UsageError(f"use --{name} instead", where=f"--param {name}", fix=f"--{name}")
        return parameters

    def _scoring(self) -> dict[str, Any]:
        """Return the settings of the comparison that differ from the defaults."""
        from tunepipe.evaluation.custom_metrics import load

        custom = load(self.metric)
        per_answer = options.positive(self.max_cost_per_answer, "max_cost_per_answer")
        settings = {
            "normalize": "" if self.normalize == "strict" else self.normalize,
            "missing": "" if self.missing == "wrong" else self.missing,
            "slice_by": self.slice_by or [],
            "metric_code": custom.code if custom else "",
            "max_latency_ms": options.positive(self.max_latency_ms, "max_latency_ms"),
            "max_cost_per_answer": per_answer,
        }
        return {name: value for name, value in settings.items() if value}
