"""What the peers are: the packages each needs, and the shortest honest program that checks a file.

Each program defines `check(path)`: it returns the line numbers it complains about, or raises. It
runs in the peer's own environment, so that nothing here imports a peer.
"""

from __future__ import annotations

from dataclasses import dataclass

JSON_LOOP = """
import json

def check(path):
    bad = []
    for number, line in enumerate(open(path, "rb"), 1):
        try:
            row = json.loads(line)
            if not (row["prompt"] and row["completion"]):
                bad.append(number)
        except (ValueError, KeyError, TypeError):
            bad.append(number)
    return bad
"""

ORJSON_LOOP = JSON_LOOP.replace("import json", "import orjson as json")

PYDANTIC = """
from typing import Annotated
from pydantic import BaseModel, ConfigDict, Field, ValidationError

class Row(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    prompt: Annotated[str, Field(min_length=1)]
    completion: Annotated[str, Field(min_length=1)]

def check(path):
    bad, seen = [], set()
    for number, line in enumerate(open(path, "rb"), 1):
        try:
            row = Row.model_validate_json(line)
        except ValidationError:
            bad.append(number)
            continue
        key = (row.prompt, row.completion)
        if key in seen:
            bad.append(number)
        seen.add(key)
    return bad
"""

PANDAS = """
import pandas

def check(path):
    frame = pandas.read_json(path, lines=True, dtype=False)
    if set(frame.columns) != {"prompt", "completion"}:
        raise ValueError("columns")
    text = frame.map(lambda cell: isinstance(cell, str) and cell.strip() != "")
    wrong = ~text.all(axis=1)
    wrong |= frame.astype(str).duplicated()
    return [int(index) + 1 for index in frame.index[wrong]]
"""

PANDERA = """
import pandas
import pandera.pandas as pandera

TEXT = pandera.Column(str, pandera.Check.str_length(min_value=1))
SCHEMA = pandera.DataFrameSchema(
    {"prompt": TEXT, "completion": TEXT},
    unique=["prompt", "completion"],
    strict=True,
)

def check(path):
    frame = pandas.read_json(path, lines=True, dtype=False)
    try:
        SCHEMA.validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as error:
        indices = error.failure_cases["index"].dropna()
        if not len(indices):
            raise
        return sorted({int(index) + 1 for index in indices})
    return []
"""

GREAT_EXPECTATIONS = """
import os
os.environ["GX_ANALYTICS_ENABLED"] = "false"
import great_expectations as gx
import pandas
from great_expectations import expectations as expect

def check(path):
    frame = pandas.read_json(path, lines=True, dtype=False)
    context = gx.get_context(mode="ephemeral")
    asset = context.data_sources.add_pandas("p").add_dataframe_asset("a")
    batch = asset.add_batch_definition_whole_dataframe("b").get_batch({"dataframe": frame})
    suite = gx.ExpectationSuite(name="s")
    suite.add_expectation(expect.ExpectTableColumnsToMatchSet(column_set=["prompt", "completion"]))
    for name in ("prompt", "completion"):
        suite.add_expectation(expect.ExpectColumnValuesToNotBeNull(column=name))
        suite.add_expectation(expect.ExpectColumnValuesToBeOfType(column=name, type_="str"))
        suite.add_expectation(
            expect.ExpectColumnValueLengthsToBeBetween(column=name, min_value=1)
        )
    suite.add_expectation(
        expect.ExpectCompoundColumnsToBeUnique(column_list=["prompt", "completion"])
    )
    found = batch.validate(suite, result_format="COMPLETE")
    bad = set()
    for result in found.results:
        if not result.success:
            if "unexpected_index_list" not in result.result:
                raise ValueError(str(result.exception_info)[:200])
            bad.update(int(index) + 1 for index in result.result["unexpected_index_list"] or [])
    if not found.success and not bad:
        raise ValueError("not a success")
    return sorted(bad)
"""

DATASETS = """
import tempfile
import datasets

datasets.disable_progress_bars()

def check(path):
    with tempfile.TemporaryDirectory() as cache:
        data = datasets.load_dataset("json", data_files=path, split="train", cache_dir=cache)
        if set(data.column_names) != {"prompt", "completion"}:
            raise ValueError("columns")
        if any(data.features[name].dtype != "string" for name in data.column_names):
            raise ValueError("types")
        for batch in data.iter(1000):
            pass
    return []
"""

DUCKDB = """
import duckdb

QUERY = '''select count(*), sum(length(prompt)), sum(length(completion)) from
read_json(?, format='newline_delimited', columns={prompt: 'VARCHAR', completion: 'VARCHAR'})'''

def check(path):
    duckdb.connect().execute(QUERY, [path]).fetchall()
    return []
"""

POLARS = """
import polars

SCHEMA = {"prompt": polars.String, "completion": polars.String}

def check(path):
    rows = polars.scan_ndjson(path, schema=SCHEMA)
    wanted = [polars.len()] + [polars.col(name).str.len_chars().sum() for name in SCHEMA]
    rows.select(wanted).collect(engine="streaming")
    return []
"""

TOGETHER = """
from together.utils import check_file

def check(path):
    report = check_file(path)
    if report["is_check_passed"]:
        return []
    raise ValueError(str(report.get("message")))
"""

OPENAI = """
import contextlib, io, os, re, shutil, tempfile
from types import SimpleNamespace
from openai.cli import FineTune

def run(path):
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, "rows.jsonl")
        os.link(path, copy) if os.stat(path).st_dev == os.stat(folder).st_dev else shutil.copy(path, copy)
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            FineTune.prepare_data(SimpleNamespace(file=copy, quiet=True))
    return [line for line in said.getvalue().splitlines() if line.startswith("- ")]

def check(path):
    # The tool always has advice (separators, endings): what counts is what a valid row does not get.
    usual = ("separator", "whitespace", "ending", "contains", "starts with", "suffix", "prefix")
    bad, others = [], []
    for line in run(path):
        rows = re.search(r"rows: \\[([0-9, ]+)", line)
        if rows:
            bad += [int(row) + 1 for row in rows[1].split(",") if row.strip()]
        elif not any(word in line for word in usual):
            others.append(line)
    if others and not bad:
        raise ValueError(others[0])
    return bad
"""  # noqa: E501


@dataclass(frozen=True)
class Peer:
    """A tool that checks, or at least reads, a JSONL file.

    Args:
        name: Its name in the tables.
        packages: What pip installs for it; none for what needs nothing.
        program: Its source.
        does: What it does with a file, in a few words.
    """

    name: str
    packages: tuple[str, ...]
    program: str
    does: str


PEERS = (
    Peer("json loop", (), JSON_LOOP, "parse, fields there and not empty"),
    Peer("orjson loop", ("orjson",), ORJSON_LOOP, "parse, fields there and not empty"),
    Peer("pydantic", ("pydantic",), PYDANTIC, "strict model a line, set of rows"),
    Peer("polars", ("polars",), POLARS, "streaming parse, lengths"),
    Peer("duckdb", ("duckdb",), DUCKDB, "parse, lengths"),
    Peer("pandas", ("pandas",), PANDAS, "parse, types, empty, duplicates"),
    Peer("pandera", ("pandera[pandas]",), PANDERA, "types, empty, duplicates, on pandas"),
    Peer(
        "Great Expectations",
        ("great-expectations",),
        GREAT_EXPECTATIONS,
        "nulls, types, empty, duplicates, on pandas",
    ),
    Peer("datasets", ("datasets",), DATASETS, "load into Arrow, read through"),
    Peer("together 1.5.35", ("together==1.5.35",), TOGETHER, "files check"),
    Peer(
        "openai 0.28.1",
        ("openai==0.28.1", "pandas", "numpy", "openpyxl"),
        OPENAI,
        "tools fine_tunes.prepare_data",
    ),
)
