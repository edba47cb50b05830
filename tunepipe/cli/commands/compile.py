"""`tunepipe compile`: write compiled/."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunepipe.cli import options
from tunepipe.cli.options import flag, option
from tunepipe.cli.output import Output
from tunepipe.extras import require


def compile_pipelines(
    check: Annotated[
        bool, flag("--check", "Write nothing; exit code 1 where a file is stale.")
    ] = False,
    image: Annotated[
        str,
        typer.Option(
            "--image",
            "--base-image",
            metavar="IMAGE",
            help="Steps run on this image, which has the package, and install nothing.",
        ),
    ] = "",
    thin: Annotated[
        bool,
        flag("--thin", "Components take the parameter code instead of carrying their code."),
    ] = False,
    accelerator: Annotated[
        str,
        option(
            "RESOURCE:N",
            "Steps of the local backend ask the cluster for it, such as nvidia.com/gpu:1.",
        ),
    ] = "",
    folder: Annotated[Path, option("FOLDER", "Where the YAML files lie.")] = Path("compiled"),
    template: Annotated[
        str,
        option(
            "SOURCE",
            "Write FOLDER/tune_large_model_inlined.yaml instead: the pipeline with Google's "
            "template in it, from a file, a gs:// or an https:// URI. See run --pipeline.",
        ),
    ] = "",
    json: options.Json = False,
) -> int:
    """Write compiled/, or say what is stale."""
    require("kfp")
    from tunepipe.runs import compile as compilation

    if template:
        return _compile_inlined(template, folder / "tune_large_model_inlined.yaml", Output(json))
    if check:
        changed = compilation.differences(
            folder, compilation.render(image, accelerator=accelerator, thin=thin)
        )
    else:
        changed = compilation.compile_all(folder, image=image, accelerator=accelerator, thin=thin)
    out = Output(json)
    out.result({"folder": str(folder), "stale" if check else "written": changed})
    for path in changed:
        out.line(f"{'stale' if check else 'wrote'}  {folder / path}")
    if not changed:
        out.line(f"{folder} is current")
    elif check:
        out.line("run: tunepipe compile", "bold")
    return int(check and bool(changed))


def _compile_inlined(template: str, path: Path, out: Output) -> int:
    from tunepipe.runs.inlined_template import write_inlined

    found = write_inlined(template, path)
    out.result({"written": str(path), "template": found.source, "sha256": found.sha256})
    out.line(f"wrote  {path}")
    out.line(f"with   {found.source} sha256:{found.sha256}")
    return 0
