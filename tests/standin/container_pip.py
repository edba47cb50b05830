"""The pip of a container on the stand-in: checks that all has a hash, and installs nothing.

It refuses as that of Debian 12 and of Ubuntu 24.04 does, whose Python is the distribution's.

What it would install is in the environment of the tests, in which the program then runs.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path


def refusal(arguments: list[str]) -> str:
    """Why pip, or who wants packages with hashes, would refuse; "" if it would install."""
    if os.environ.get("PIP_BREAK_SYSTEM_PACKAGES") != "1":
        return "error: externally-managed-environment"
    verb, *options = arguments
    if verb != "install" or "--require-hashes" not in options or "--no-deps" not in options:
        return f"not an installation by hashes alone: {' '.join(arguments)}"
    file = Path(options[options.index("-r") + 1])
    for entry in re.split(r"^(?=[A-Za-z])", file.read_text(encoding="utf-8"), flags=re.M)[1:]:
        if not re.match(r"[\w.-]+==\S+", entry) or "--hash=sha256:" not in entry:
            return f"a package without its version or hash: {entry.splitlines()[0]}"
    return ""


if __name__ == "__main__":
    sys.exit(refusal(sys.argv[1:]) or 0)
