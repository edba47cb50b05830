"""The wheel's addresses, those of the repository that it is built from, and no file of old builds.

Everything else is in pyproject.toml.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


class FreshBuild(build_py):
    """Collects the package anew: what an earlier version left in build/ would go into the wheel."""

    def run(self) -> None:
        """Remove what is there, and build."""
        shutil.rmtree(Path(self.build_lib, "tunepipe"), ignore_errors=True)
        super().run()


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
    setup(cmdclass={"build_py": FreshBuild}, project_urls=pages(repository()))
