"""`tunepipe tables`: how old the tables of models, prices and limits are, and newer ones."""

from __future__ import annotations

import hashlib
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import typer

from tunepipe.catalog.ageing import dated_facts, stale_facts, tables_version
from tunepipe.catalog.catalog import load_catalog
from tunepipe.catalog.tables import merged
from tunepipe.cli import config, options
from tunepipe.cli.output import Output
from tunepipe.errors import CloudError, UsageError, plural
from tunepipe.files import replacing
from tunepipe.gcp import outbound
from tunepipe.stores import storage

_BYTES_MAX = 4 << 20
_FETCH_SECONDS = 30.0


def tables(
    context: typer.Context,
    *,
    check: bool = False,
    days: options.Count = 90,
    update: str = "",
    sha256: str = "",
    out: Output,
) -> int:
    """Show how old models and prices are, or take newer ones.

    Every fact has the day on which it was read. plan, run and doctor warn of old facts that a
    tuning relies on; reports name the version of the tables. Tables have the shape of --tables,
    and need only the values that changed.

    Options:
        check: List what is old; exit code 1 if anything is.
        days (N): Age in days from which a fact is old.
        update (FILE-OR-URL): Take newer tables (TOML): a file, gs:// or https://; kept in
            tunepipe-tables.toml.
        sha256 (HEX): The hash that the tables must have; required with https://.
    """
    if sha256 and not update:
        raise UsageError("there is nothing to compare with", where="--sha256", fix="--update FILE")
    if update:
        _take(update, sha256, options.tables(context, ""))
    catalog = options.catalog(context)
    today = datetime.now(UTC).date()
    facts = list(dated_facts(catalog))
    old = [(fact, fact.age_days(today)) for fact in stale_facts(catalog, today, days)]
    version = tables_version(catalog)
    listed = [
        {"place": fact.place, "read": fact.read, "days": age, "source": fact.source}
        for fact, age in old
    ]
    out.result({"version": version, "facts": len(facts), "old": listed})
    if update:
        out.line(f"{config.UPDATES} holds the tables of {update}", "green")
    if old:
        rows = [(plural(age, "day"), fact.read, fact.place) for fact, age in old]
        out.table(rows, ("age", "read", "fact"))
    out.line(
        f"tables {version}: {len(facts)} dated facts, {len(old)} older than {plural(days, 'day')}"
    )
    return int(check and bool(old))


def _take(source: str, sha256: str, current: dict[str, object]) -> None:
    """Check newer tables and keep them where every command finds them."""
    data = _read(source, sha256)
    digest = hashlib.sha256(data).hexdigest()
    if sha256 and digest != sha256.lower():
        raise UsageError(
            f"the tables have the hash {digest}", where=source, fix=f"expected {sha256.lower()}"
        )
    try:
        values = tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"not TOML: {error}", where=source, fix="name a file of tables") from error
    newer = load_catalog(merged(current, values))
    if newer.as_of < load_catalog(current).as_of:
        raise UsageError(
            f"the tables are of {newer.as_of}, older than those in use",
            where=source,
            fix="take newer ones; single values belong into --tables",
        )
    with replacing(Path(config.UPDATES), "wb") as file:
        file.write(data)


def _read(source: str, sha256: str) -> bytes:
    """Read tables from a file, Cloud Storage or the web; these only with their hash."""
    if source.startswith("http://"):
        raise UsageError("the connection is not encrypted", where=source, fix="use https://")
    if source.startswith("https://"):
        if not sha256:
            raise UsageError(
                "--sha256 is required for tables from the web",
                where=source,
                fix="--sha256 HASH, from their publisher",
            )
        return _fetch(source)
    if not storage.is_object(source) and not Path(source).is_file():
        raise UsageError("file not found", where=source, fix="check the path")
    if storage.stat(source).bytes > _BYTES_MAX:
        raise UsageError(
            f"larger than {_BYTES_MAX >> 20} MiB", where=source, fix="name a file of tables"
        )
    return storage.read_bytes(source)


def _fetch(url: str) -> bytes:
    import requests

    try:
        # Without redirects, so that the host is the one that was named; without credentials.
        with outbound.request("GET", url, seconds=_FETCH_SECONDS, stream=True) as response:
            response.raise_for_status()
            data = response.raw.read(_BYTES_MAX + 1, decode_content=True)
    except requests.RequestException as error:
        raise CloudError(
            f"cannot be fetched: {error}", where=url, fix="try later, or name a file"
        ) from error
    if response.status_code != requests.codes.ok or len(data) > _BYTES_MAX:
        raise CloudError(
            f"status {response.status_code}, {len(data):,} bytes",
            where=url,
            fix=f"name the file itself, of up to {_BYTES_MAX >> 20} MiB",
        )
    return bytes(data)
