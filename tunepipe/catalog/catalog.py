"""Everything that is known of models, prices, regions and services, decoded once at the edge.

The command, a pipeline's step and the public API call `load_catalog` with the user's tables, and
pass the catalog on. A misspelt name in these tables would leave our price in force, and a wrong
figure would defeat a cost ceiling: both are refused here.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from datetime import date
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, TypeVar

import msgspec

from tunepipe.arguments import hint, nearest
from tunepipe.catalog.backends import find_backend
from tunepipe.catalog.limits import Rules
from tunepipe.catalog.models import is_retired
from tunepipe.catalog.schema import (
    AcceleratorTable,
    Hardware,
    MediaLimits,
    MediaTable,
    Model,
    ModelTable,
    Prices,
    ServiceLimits,
    ServiceTable,
)
from tunepipe.catalog.tables import Table, load, merged
from tunepipe.decoding import decode
from tunepipe.errors import UsageError

_ForModels = TypeVar("_ForModels", ServiceLimits, MediaLimits)
# How the names of the services' models look; what follows the @ of a hub id is left out.
_FAMILIES = ("gemini-*", "*-bison*", "*-unicorn*", "*@*")
# What Rules takes over from a service.
_LIMITS = (
    *("input_tokens", "output_tokens", "example_tokens"),
    *("rows_min", "rows_advised", "rows_max", "file_bytes"),
)
_FILES = {
    "models": "catalog/models.toml",
    "services": "catalog/services.toml",
    "prices": "catalog/prices.toml",
    "regions": "catalog/regions.toml",
    "accelerators": "catalog/accelerators.toml",
    "media": "catalog/media.toml",
}


class Catalog(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The dated tables, with a user's values merged over them; `load_catalog` makes one."""

    model_table: ModelTable = msgspec.field(name="models")
    service_table: ServiceTable = msgspec.field(name="services")
    prices: Prices
    regions: dict[str, Hardware]
    accelerators: AcceleratorTable
    media: MediaTable

    @property
    def as_of(self) -> date:
        """The day on which the table of models was read."""
        return date.fromisoformat(self.model_table.read)

    def find_model(self, name: str = "", backend: str = "") -> Model:
        """Look a model up.

        Without a name it is the backend's default, or text-bison@001 if no backend is named
        either. The local backend takes any folder or hub id.
        """
        if backend:
            find_backend(backend)
        table = self.model_table
        name = name or self.default_model("", backend)
        model = table.models.get(name) or self._model_outside_the_table(name, backend)
        if backend and model.backend != backend:
            raise UsageError(
                f"{name} is tuned by the backend {model.backend}, not by {backend}",
                where="model",
                fix=f"--backend {model.backend}, or another model",
            )
        return model

    def check_model_name(self, name: str) -> None:
        """Refuse a misspelt name of one of the table's models; "", a folder and a hub id pass.

        Where only limits are looked up, any other name is the local backend's, which sets none: a
        typo would switch all limits off.
        """
        models = self.model_table.models
        if name in ("", *models) or name.startswith("projects/") or os.path.isdir(name):
            return
        small = name.lower()
        stem = small.partition("@")[0]
        if "/" in stem and stem not in {each.partition("@")[0] for each in models}:
            small = stem  # a hub id with its revision
        is_service_model = any(fnmatchcase(small, pattern) for pattern in _FAMILIES)
        typo = "/" not in name and difflib.get_close_matches(small, models, cutoff=0.7)
        if is_service_model or typo:
            raise self._unknown_model(name)

    def find_service(self, model: str) -> tuple[str, ServiceLimits]:
        """Return the name and the row of the service that tunes a model.

        A name that no cloud service has is the local backend's.
        """
        if service := _first_row(self.service_table.services, model):
            return service
        raise UsageError(
            f"no service of the table takes the model {model!r}",
            where="model",
            fix="--tables FILE adds one",
        )

    def default_model(self, format: str = "", backend: str = "") -> str:
        """Return the model to tune if none is named: the format's first, or else the backend's.

        A backend's default counts where it does not tune the format's first model.
        """
        first = self.service_table.first_model.get(format, "")
        models = self.model_table.models
        tuned_by = models[first].backend if first in models else ""
        if first and backend in ("", tuned_by):
            return first
        tuner = find_backend(backend or "large-model")
        return self.model_table.defaults[tuner.name]

    def rules_for(self, format: str, model: str = "", *, pii: bool = False) -> Rules:
        """Return what a row of a format may hold for a model, by default the format's first."""
        chosen = model or self.default_model(format)
        name, service = self.find_service(chosen)
        if format not in service.formats:
            raise UsageError(
                f"{chosen} is not tuned on rows of the format {format}",
                where="model",
                fix=f"tunepipe convert IN OUT --to {service.formats[0]}, or another --model",
            )
        to, media = sent_as(format, service.native), _first_row(self.media.limits, chosen)
        return Rules(
            format=format,
            model=chosen,
            service=name,
            roles=self.service_table.roles[format] + service.extra_roles,
            **{name: getattr(service, name) for name in _LIMITS},
            convert_to="" if to == format else to,
            pii=pii,
            media=media[1] if media else None,
        )

    def hardware_of(self, model: Model, region: str) -> Hardware | None:
        """Return what a model trains on in a region; None for a model that hides its hardware."""
        if model.backend != "large-model":
            return None
        if region not in self.regions:  # a user added it to a model alone
            raise UsageError(
                f"the hardware in {region} is not known",
                where="region",
                fix=f"add a row tables.regions.{region}",
            )
        return self.regions[region]

    def _model_outside_the_table(self, name: str, backend: str) -> Model:
        families = self.model_table.families
        if backend in ("local", "custom"):
            return msgspec.structs.replace(families[backend], name=name)
        if name.startswith("projects/"):
            # A tuned model that is to be tuned further: only Gemini's service does that.
            return msgspec.structs.replace(
                families["gemini3"],
                name=name,
                formats=("gemini", "preference"),
                note="a tuned model: price and limits are its base's",
            )
        raise self._unknown_model(name)

    def _unknown_model(self, name: str) -> UsageError:
        # A retired model of a service that continues does not help; PaLM has no other models.
        names = [
            each.name
            for each in self.model_table.models.values()
            if each.backend == "large-model" or not is_retired(each, self.as_of)
        ]
        near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.4)
        did_you_mean = f"did you mean {' or '.join(near)}? " if near else ""
        return UsageError(
            f"{name} is not in the table of models as of {self.model_table.read}",
            where="model",
            fix=f"{did_you_mean}A folder or a hub id needs --backend local or custom; "
            "a new model needs a row in --tables",
        )


def _first_row(rows: Mapping[str, _ForModels], model: str) -> tuple[str, _ForModels] | None:
    """Return the first row that lists the model, with its name."""
    for name, row in rows.items():
        if any(fnmatchcase(model, pattern) for pattern in row.models):
            return name, row
    return None


def sent_as(format: str, native: Sequence[str]) -> str:
    """Return the format in which rows are sent to a service that reads the `native` ones.

    Rows that this package reads itself, with no native format, are sent as they are.
    """
    if not native or format in native:
        return format
    pair = format == "palm" and "prompt-completion" in native
    return "prompt-completion" if pair else native[0]


def load_catalog(overrides: Mapping[str, Any] | None = None) -> Catalog:
    """Decode the package's tables with the user's values merged over them.

    Args:
        overrides: {"regions": …, "prices": …, "models": …, "services": …, "media": …}, each of the
            shape of its file; a row with a new name must be complete. None or {} changes nothing.
    """
    return _decode_catalog(overrides) if overrides else _package_catalog()


@cache
def _package_catalog() -> Catalog:
    return _decode_catalog({})


def _decode_catalog(overrides: Mapping[str, Any]) -> Catalog:
    tables = merged({name: load(file) for name, file in _FILES.items()}, overrides)
    if isinstance(tables["regions"], Mapping):
        rows = tables["regions"].items()
        tables["regions"] = {name: row for name, row in rows if name not in ("read", "source")}
    if isinstance(tables["models"], Mapping):
        tables["models"] = _with_families(tables["models"])
    catalog = decode(tables, Catalog, "tables")
    _check_priced_regions(catalog)
    return catalog


def _with_families(table: Mapping[str, Any]) -> Table:
    """Lay each model's row over its family's."""
    families = {name: {**row, "name": name} for name, row in table["families"].items()}
    decode(families, dict[str, Model], "tables.models.families")
    rows = {}
    for name, row in table["models"].items():
        where = f"tables.models.models.{name}"
        if not isinstance(row, Mapping) or "family" not in row:
            near = nearest(name, [other for other in table["models"] if other != name])
            instead = f", or did you mean {near}?" if near else ""
            raise UsageError("values are missing", where=where, fix=f"add family{instead}")
        if row["family"] not in families:
            raise UsageError(
                f"unknown family {row['family']}", where=where, fix=hint(row["family"], families)
            )
        rows[name] = merged(families[row["family"]], {**row, "name": name})
        del rows[name]["family"]
    return {**table, "families": families, "models": rows}


def _check_priced_regions(catalog: Catalog) -> None:
    """Refuse an hour's price in a region without hardware, where it would never apply."""
    for kind, row in catalog.prices.accelerators.items():
        for region in row.usd_per_hour.keys() - catalog.regions.keys():
            raise UsageError(
                f"no accelerator is used by the hour in {region}",
                where=f"tables.prices.accelerators.{kind}.usd_per_hour",
                fix=f"{hint(region, catalog.regions)}; a new one needs tables.regions.{region}",
            )
