"""Writes the generated parts of the documentation: tables, and the help of the command.

    python docs/generate.py           # write them
    python docs/generate.py --check   # exit code 1 where one is stale

A generated part is between `<!-- generated: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import inspect
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from tunepipe.catalog.catalog import load_catalog
from tunepipe.catalog.schema import Model, ServiceLimits
from tunepipe.cli.main import command_app
from tunepipe.files import replacing
from tunepipe.validation.problems import CODES

FOLDER = Path(__file__).parent
PAGES = (
    "api.md",
    "command.md",
    "components.md",
    "costs.md",
    "troubleshooting.md",
    "validation.md",
)
COLUMNS = 100
_PART = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def rendered(text: str) -> str:
    """Return a page with its generated parts written again."""
    return _PART.sub(lambda match: f"{match[1]}\n{PARTS[match[2]]()}\n{match[3]}", text)


def stale() -> list[Path]:
    """List the pages whose generated parts are not current."""
    pages = [FOLDER / name for name in PAGES]
    return [page for page in pages if rendered(_read(page)) != _read(page)]


def regions() -> str:
    """Tabulate the hardware of the PaLM template's two regions."""
    table = load_catalog().regions
    return _table(
        ("region", "hardware", "machine", "quota to hold"),
        (
            (
                name,
                f"{row.accelerators} x {row.accelerator_type}",
                row.machine_type,
                f"{row.quota}, in multiples of {row.quota_multiple}",
            )
            for name, row in table.items()
        ),
    )


def hours() -> str:
    """Tabulate how long a step is taken to last."""
    rows = load_catalog().prices.hours
    return _table(
        ("what", "seconds a step", "hours at least", "read", "source"),
        (
            (name, row.seconds_per_step, row.minimum_hours, row.read, row.source)
            for name, row in rows.items()
        ),
    )


def accelerator_prices() -> str:
    """Tabulate what an accelerator costs an hour: in PaLM's template, and in a custom job."""
    catalog = load_catalog()
    rows = {f"{name}, large-model": row for name, row in catalog.prices.accelerators.items()}
    machines = catalog.accelerators.accelerators
    rows |= {f"{name} with its machine, custom": row for name, row in machines.items()}
    return _table(
        ("accelerator", "USD an hour", "read", "source"),
        (
            (
                name,
                ", ".join(f"{usd} in {place}" for place, usd in row.usd_per_hour.items())
                or "not known",
                row.read,
                row.source,
            )
            for name, row in rows.items()
        ),
    )


def token_prices() -> str:
    """Tabulate what a million training tokens costs."""
    rows = load_catalog().prices.training_tokens
    return _table(
        ("model", "USD a million", "read", "source"),
        ((f"`{name}`", row.usd_per_million, row.read, row.source) for name, row in rows.items()),
    )


def answer_prices() -> str:
    """Tabulate what a judge costs."""
    rows = load_catalog().prices.answers
    return _table(
        ("model", "USD a million read", "USD a million written", "read", "source"),
        (
            (
                f"`{name}`",
                row.usd_per_million_read,
                row.usd_per_million_written,
                row.read,
                row.source,
            )
            for name, row in rows.items()
        ),
    )


def model_table() -> str:
    """Tabulate what can be tuned, where, and until when."""
    head = ("model", "backend", "batch", "regions", "tuned since", "tuned until", "answers until")
    return _table((*head, "successor"), map(_model_row, load_catalog().model_table.models.values()))


def sources() -> str:
    """List where the families of models.toml were read."""
    rows = load_catalog().model_table.families
    return "\n".join(f"- {name}, {row.read}: {row.source}." for name, row in rows.items())


def codes() -> str:
    """Tabulate what validation reports."""
    return _table(
        ("code", "level", "how to fix it"),
        ((f"`{code}`", level, fix) for code, (level, fix) in CODES.items()),
    )


def service_limits() -> str:
    """Tabulate what each service takes."""
    head = ("models", "formats", "rows", "evaluation rows", "tokens", "bytes", "source")
    return _table(head, map(_service_row, load_catalog().service_table.services.values()))


def advice() -> str:
    """Tabulate the remedies for Google's messages."""
    table = tomllib.loads(_read(FOLDER.parent / "tunepipe" / "gcp" / "advice.toml"))
    return _table(
        ("in the message", "what to do"),
        (
            ("<br>".join(map(_code, _alternatives(row["pattern"]))), _line(row["fix"]))
            for row in table["symptom"]
        ),
    )


def _alternatives(pattern: str) -> list[str]:
    """Split a regular expression at the bars that are in no group."""
    parts, depth = [""], 0
    for letter in pattern:
        depth += (letter == "(") - (letter == ")")
        if letter == "|" and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def command_help() -> str:
    """Give the help of the command and of every subcommand."""
    command: Any = typer.main.get_command(command_app())
    return "\n\n".join(_helps(command, typer.Context(command, info_name="tunepipe")))


def component_ports() -> str:
    """Describe every component and its ports."""
    from tunepipe import components

    units = ((name, getattr(components, name).component_spec) for name in components.__all__)
    return "\n\n".join(_component(name, spec) for name, spec in units)


def public_api() -> str:
    """Describe what `import tunepipe` gives: functions, then results."""
    import tunepipe

    things = [getattr(tunepipe, name) for name in tunepipe.__all__]
    functions = [thing for thing in things if inspect.isfunction(thing)]
    results = [thing for thing in things if inspect.isclass(thing)]
    return "\n\n".join([*map(_function, functions), "## Results", *map(_result, results)])


PARTS: dict[str, Callable[[], str]] = {
    "api": public_api,
    "components": component_ports,
    "advice": advice,
    "regions": regions,
    "hours": hours,
    "accelerators": accelerator_prices,
    "tokens": token_prices,
    "answers": answer_prices,
    "models": model_table,
    "sources": sources,
    "codes": codes,
    "services": service_limits,
    "help": command_help,
}


def _model_row(model: Model) -> tuple[str, ...]:
    batch = model.batch_size
    sizes = str(batch) if isinstance(batch, int) else ", ".join(map(str, batch.values()))
    return (
        f"`{model.name}`",
        model.backend,
        f"{sizes} (assumed)" if model.batch_size_assumed else sizes,
        ", ".join(model.regions),
        model.tunable_since,
        model.tunable_until if model.tunable else "cannot be tuned",
        model.served_until
        or (f"{model.retires_not_before} or later" if model.retires_not_before else ""),
        f"`{model.successor}`" if model.successor else "",
    )


def _service_row(service: ServiceLimits) -> tuple[str, ...]:
    evaluation = service.evaluation
    share = evaluation.fraction_max
    above = evaluation.fraction_from_rows - 1
    shares = f"{100 * share:g} % of training" + (f" above {above:,}" if above > 0 else "")
    tokens = (
        (service.input_tokens, "in"),
        (service.output_tokens, "out"),
        (service.example_tokens, "an example"),
    )
    return (
        ", ".join(f"`{model}`" for model in service.models),
        ", ".join(service.formats),
        _span(service.rows_min, service.rows_max),
        ", ".join(
            filter(
                None,
                (_span(evaluation.rows_min, evaluation.rows_max), shares if share else ""),
            )
        ),
        ", ".join(f"{limit:,} {word}" for limit, word in tokens if limit),
        f"{service.file_bytes:,}" if service.file_bytes else "",
        "; ".join(service.sources),
    )


def _span(least: int, most: int) -> str:
    if least and most:
        return f"{least:,} to {most:,}"
    return f"from {least:,}" if least else f"to {most:,}" if most else ""


def _helps(command: Any, context: Any) -> Iterator[str]:
    context.terminal_width = context.max_content_width = COLUMNS
    depth = "#" * (2 + context.command_path.count(" "))
    yield f"{depth} {context.command_path}\n\n```text\n{command.get_help(context).rstrip()}\n```"
    for name, below in getattr(command, "commands", {}).items():
        if not below.hidden:
            yield from _helps(below, typer.Context(below, info_name=name, parent=context))


def _component(component: str, spec: Any) -> str:
    inputs = [
        (f"`{name}`", _type(port), _default(port), _line(port.description))
        for name, port in (spec.inputs or {}).items()
    ]
    outputs = [
        (f"`{name}`", _type(port), _line(port.description))
        for name, port in (spec.outputs or {}).items()
    ]
    parts = [f"## {component}", spec.description]
    if inputs:
        parts.append(_table(("input", "type", "default", "what"), inputs))
    if outputs:
        parts.append(_table(("output", "type", "what"), outputs))
    return "\n\n".join(parts)


def _function(function: Any) -> str:
    from docstring_parser import parse

    signature, text = inspect.signature(function), parse(function.__doc__ or "")
    arguments = [
        (f"`{one.arg_name}`", _argument_default(signature, one.arg_name), _line(one.description))
        for one in text.params
    ]
    result = str(signature.return_annotation)
    returns = f"Returns a [`{result}`](#{result.lower()})."
    if text.returns:
        returns += f" {_line(text.returns.description)}"
    raised = [f"- `{one.type_name}`: {_line(one.description)}" for one in text.raises]
    table = _table(("argument", "default", "what"), arguments)
    title = f"## tunepipe.{function.__name__}"
    return "\n\n".join([title, text.description.strip(), table, returns, "\n".join(raised)])


def _argument_default(signature: Any, name: str) -> str:
    parameter = signature.parameters[name]
    if parameter.kind is parameter.VAR_KEYWORD:
        return ""
    return "required" if parameter.default is parameter.empty else f"`{parameter.default!r}`"


def _result(result: Any) -> str:
    from docstring_parser import parse

    text = parse(result.__doc__ or "")
    rows = []
    for kind in (each for each in reversed(result.__mro__) if "tunepipe" in each.__module__):
        rows += [
            (f"`.{one.arg_name}`", _line(one.description))
            for one in parse(kind.__doc__ or "").params
        ]
        for name, member in vars(kind).items():
            is_property = isinstance(member, property)
            if is_property or name == "to_dict":
                shown = name if is_property else f"{name}()"
                rows.append((f"`.{shown}`", _line(inspect.getdoc(member) or "")))
    return "\n\n".join(
        [f"### {result.__name__}", text.description.strip(), _table(("name", "what"), rows)]
    )


def _type(port: Any) -> str:
    return port.type.partition("@")[0].removeprefix("system.")


def _default(port: Any) -> str:
    if not port.optional:
        return "required"
    return "" if port.default is None else f"`{port.default!r}`"


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def main(check: bool) -> int:
    """Write the pages, or say which are stale."""
    found = stale()
    for page in found:
        print("stale" if check else "wrote", page)
        if not check:
            text = rendered(_read(page))
            with replacing(page) as file:
                file.write(text)
    return int(check and bool(found))


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
