"""The optional packages: which extra brings them, and the command that installs it."""

from __future__ import annotations

import json
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from tunepipe.errors import UsageError

# Extra -> modules that it brings, as imported. pyproject.toml has the requirements.
EXTRAS = {
    "kfp": ("kfp", "yaml"),
    "local": (
        *("accelerate", "datasets", "peft", "safetensors", "tokenizers", "torch"),
        *("transformers", "trl"),
    ),
    "s3": ("boto3",),
    "score": ("jsonschema", "rapidfuzz", "sacrebleu", "scipy"),
    "tables": ("openpyxl", "pandas", "pyarrow"),
    "vertex": ("google.auth", "google.cloud.aiplatform_v1", "google.cloud.storage", "google.genai"),
}


def require(*extras: str) -> None:
    """Check that the packages of some EXTRAS are installed, before any work is done."""
    for extra in extras:
        for module in EXTRAS[extra]:
            if not _is_installed(module):
                raise missing(module)


def missing(module: str) -> UsageError:
    """Return the error that names the extra of a module, such as "google.genai"."""
    top = module.partition(".")[0]
    tops = {name: {each.partition(".")[0] for each in brought} for name, brought in EXTRAS.items()}
    extra = next((name for name, brought in tops.items() if top in brought), "all")
    return UsageError(
        f"the package {module} is not installed", where="Python", fix=install_command(extra)
    )


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package
        return False


def install_command(extra: str) -> str:
    """Return the command that adds an extra to tunepipe as it was installed (PEP 610)."""
    from importlib import metadata

    try:
        record = metadata.distribution("tunepipe").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        record = None
    origin = json.loads(record or "{}")
    url = str(origin.get("url", ""))
    if "vcs_info" in origin:
        requirement = f"'tunepipe[{extra}] @ {origin['vcs_info'].get('vcs', 'git')}+{url}'"
    elif url.startswith("file://") and "dir_info" in origin:
        editable = "-e " if origin["dir_info"].get("editable") else ""
        requirement = f"{editable}'{url.removeprefix('file://')}[{extra}]'"
    else:
        return f"install tunepipe again with the extra [{extra}], from where you have it"
    return f"{_installer()} {requirement}"


def _installer() -> str:
    """Return what installs into the environment that this command runs in."""
    environment = Path(sys.prefix)
    if (environment / "pipx_metadata.json").is_file():
        return "pipx install --force"
    if (environment / "uv-receipt.toml").is_file():
        return "uv tool install --force"
    pip = shutil.which("pip")
    if pip and Path(pip).parent == Path(sys.executable).parent:
        return "pip install"
    return f"{sys.executable} -m pip install"
