"""`tunepipe compile`: write compiled/."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunepipe.backends.palm.template import read_template
from tunepipe.cli.output import Output
from tunepipe.extras import require
from tunepipe.files import replacing


def compile(
    *,
    check: bool = False,
    image: Annotated[str, typer.Option("--image", "--base-image")] = "",
    thin: bool = False,
    accelerator: str = "",
    folder: Path = Path("compiled"),
    template: str = "",
    out: Output,
) -> int:
    """Write compiled/, or say what is stale.

    Options:
        check: Write nothing; exit code 1 where a file is stale.
        image (IMAGE): Steps run on this image, which has the package, and install nothing.
        thin: Components take the parameter code instead of carrying their code.
        accelerator (RESOURCE:N): Steps of the local backend ask the cluster for it, such as
            nvidia.com/gpu:1.
        folder (FOLDER): Where the YAML files lie.
        template (SOURCE): Write FOLDER/tune_large_model_inlined.yaml instead: the pipeline with
            Google's template in it, from a file, a gs:// or an https:// URI. See run --pipeline.
    """
    require("kfp")
    from tunepipe.runs.compile import differences, inlined_pipeline, render, write_all

    if template:
        target = folder / "tune_large_model_inlined.yaml"
        source = read_template(template)
        text = inlined_pipeline(source)
        with replacing(target) as file:
            file.write(text)
        out.result({"written": str(target), "template": source.source, "sha256": source.sha256})
        out.line(f"wrote  {target}")
        out.line(f"with   {source.source} sha256:{source.sha256}")
        return 0
    texts = render(image, accelerator=accelerator, thin=thin)
    changed = differences(folder, texts) if check else write_all(folder, texts)
    out.result({"folder": str(folder), "stale" if check else "written": changed})
    for path in changed:
        out.line(f"{'stale' if check else 'wrote'}  {folder / path}")
    if not changed:
        out.line(f"{folder} is current")
    elif check:
        out.line("run the same command without --check", "bold")
    return int(check and bool(changed))
