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

    out = Output(json)
    if template:
        from tunepipe.runs.inlined_template import write_inlined

        target = folder / "tune_large_model_inlined.yaml"
        inlined = write_inlined(template, target)
        out.result({"written": str(target), "template": inlined.source, "sha256": inlined.sha256})
        out.line(f"wrote  {target}")
        out.line(f"with   {inlined.source} sha256:{inlined.sha256}")
        return 0
    if check:
        changed = compilation.differences(
            folder, compilation.render(image, accelerator=accelerator, thin=thin)
        )
    else:
        changed = compilation.compile_all(folder, image=image, accelerator=accelerator, thin=thin)
    out.result({"folder": str(folder), "stale" if check else "written": changed})
    for path in changed:
        out.line(f"{'stale' if check else 'wrote'}  {folder / path}")
    if not changed:
        out.line(f"{folder} is current")
    elif check:
        out.line("run: tunepipe compile", "bold")
    return int(check and bool(changed))
