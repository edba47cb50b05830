"""MkDocs' hooks: the site loads nothing from the network, and names files of the repository.

Material's plugin `offline` takes one script from unpkg.com, without which the search does not run
from a file; assets/iframe-worker.js is that script.
"""

from __future__ import annotations

import re
from typing import Any

_ELSEWHERE = "https://unpkg.com/iframe-worker/shim"
# A link from a page to a file of the repository, such as [CONTRIBUTING.md](../CONTRIBUTING.md).
_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./[^)]+\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Write the name of a file that is in the repository and not on the site."""
    return _OUTSIDE.sub(r"`\1`", markdown)


def on_post_page(output: str, **_: Any) -> str:
    """Take the script from this site, in which all pages are in one folder."""
    return output.replace(_ELSEWHERE, "assets/iframe-worker.js")


def on_post_template(output_content: str, **_: Any) -> str:
    """Do the same for the page of what is not found."""
    return on_post_page(output_content)
