"""The files that a DATASET argument means: paths, globs, gs:// URIs, or - for standard input."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunepipe.catalog.catalog import Catalog
from tunepipe.data.source import STDIN, is_stream
from tunepipe.errors import TunepipeError, UsageError
from tunepipe.files import refuse_same
from tunepipe.stores import storage

if TYPE_CHECKING:
    from tunepipe.data.predictions import Prediction
    from tunepipe.splitting.split import SplitReport
    from tunepipe.validation.validate import Report


@contextmanager
def local_copies(
    datasets: Sequence[str], *, streams_only: bool = False
) -> Iterator[dict[str, str]]:
    """Copy datasets to this machine, for code that reads a file more than once.

    They are paths, gs:// URIs, globs of either, or "-" for standard input. Yields for each local
    path the name that the user gave; for a path, the path itself. Errors name what the user gave.
    With `streams_only` nothing else is copied, and other names are yielded as they are.
    """
    with tempfile.TemporaryDirectory() as folder:
        names: dict[str, str] = {}
        for number, name in enumerate(datasets if streams_only else expanded(datasets)):
            local = name
            if is_stream(name) or (storage.is_object(name) and not streams_only):
                local = str(Path(folder, f"{number}-{Path(name).name}"))
                _copy(name, local)
            elif not streams_only:
                storage.stat(name)
            names[local] = name
        try:
            yield names
        except TunepipeError as error:
            name_originals(error, names)
            raise


def name_originals(error: TunepipeError, names: Mapping[str, str]) -> None:
    """Let an error name what the user gave, in place of its copy on this machine."""
    for copy_name, name in names.items():
        error.where = error.where.replace(copy_name, name)
        error.fix = error.fix.replace(copy_name, name)


@contextmanager
def local_copy(name: str) -> Iterator[str]:
    """Copy the one file that a name means to this machine; see `local_copies`."""
    with local_copies([name]) as files:
        if len(files) != 1:
            raise UsageError(f"{len(files)} files match", where=name, fix="name one of them")
        yield next(iter(files))


@contextmanager
def written(target: str, *, missing_ok: bool = False) -> Iterator[str]:
    """Yield a local path to write, and copy it to its gs:// URI if the block succeeds.

    A path is yielded as it is. With `missing_ok` the block may leave the file unwritten.
    """
    if not storage.is_object(target):
        yield target
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = str(Path(folder) / Path(target).name)
        yield copy
        if not missing_ok or Path(copy).exists():
            storage.write_file(copy, target)


def expanded(datasets: Sequence[str]) -> list[str]:
    """Expand globs; a name without a wildcard is kept as it is."""
    return [
        name
        for dataset in datasets
        for name in ([dataset] if dataset == STDIN else storage.list_files(dataset))
    ]


def dataset_format(datasets: Sequence[str], format: str = "auto") -> str:
    """Return the format of a dataset's first rows, to find its model; "" if none is known."""
    from tunepipe.data.source import format_of

    if format != "auto":
        return format
    try:
        return format_of(expanded(datasets), storage.open_file)
    except TunepipeError:  # the validation says what is wrong with the rows
        return ""


def _copy(name: str, copy: str) -> None:
    stdin = nullcontext(sys.stdin.buffer)
    with open(copy, "wb") as target, stdin if name == STDIN else storage.open_file(name) as source:
        shutil.copyfileobj(source, target)


def validated_files(datasets: Sequence[str], against: Sequence[str] = (), **options: Any) -> Report:
    """Validate the files that DATASET arguments mean."""
    from tunepipe.validation.validate import validate

    paths, others = expanded(datasets), expanded(against)
    if any(map(storage.is_object, paths + others)):
        options["opener"] = storage.open_file
    return validate(paths, against=others, **options)


def read_predictions(name: str) -> list[Prediction]:
    """Read the predictions file that a path, a URI or - means."""
    from tunepipe.data import predictions

    with local_copy(name) as path:
        return predictions.read(path)


def split_files(
    datasets: Sequence[str], train: str, eval: str, *, catalog: Catalog, model: str, **options: Any
) -> SplitReport:
    """Split the files that DATASET arguments mean; options are those of `splitting.split.split`."""
    from tunepipe.splitting.split import split

    catalog.check_model_name(model)
    with local_copies(datasets) as files, written(train) as train_file, written(eval) as eval_file:
        refuse_same([train, eval], files.values())
        return split(list(files), train_file, eval_file, catalog=catalog, model=model, **options)
