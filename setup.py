"""The addresses in the wheel's metadata: those of the repository that the wheel is built from.

Everything else is in pyproject.toml.
"""

import os
import re
import subprocess
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent


def repository() -> str:
    """Return the web address of the clone's origin, without credentials; "" where there is none."""
    address = os.environ.get("TUNEPIPE_REPOSITORY", "")
    if not address and (ROOT / ".git").exists():
        command = ["git", "-C", str(ROOT), "remote", "get-url", "origin"]
        try:
            found = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError:  # no git here
            return ""
        address = found.stdout.strip()
    # git@HOST:PATH.git and ssh://git@HOST/PATH name the same repository as https://HOST/PATH.
    server = r"(?:(?:https|ssh)://(?:[^@/]+@)?|[\w.-]+@)([\w.-]+)(?::\d+)?"
    parts = re.fullmatch(rf"{server}[:/](.+?)(?:\.git)?/?", address)
    return f"https://{parts[1]}/{parts[2]}" if parts else ""


def pages(url: str) -> dict[str, str]:
    """Return the pages of a repository by what they are; none of no repository."""
    if not url:
        return {}
    return {
        "Repository": url,
        "Documentation": f"{url}/tree/main/docs",
        "Changelog": f"{url}/blob/main/CHANGELOG.md",
        "Issues": f"{url}/issues",
    }


if __name__ == "__main__":
    setup(project_urls=pages(repository()))
