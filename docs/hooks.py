"""MkDocs' hook: the site loads nothing from the network.

Material's plugin `offline` takes one script from unpkg.com, without which the search does not run
from a file; assets/iframe-worker.js is that script.
"""

from __future__ import annotations

from typing import Any

_ELSEWHERE = "https://unpkg.com/iframe-worker/shim"


def on_post_page(output: str, **_: Any) -> str:
    """Take the script from this site, in which all pages are in one folder."""
    return output.replace(_ELSEWHERE, "assets/iframe-worker.js")


def on_post_template(output_content: str, **_: Any) -> str:
    """Do the same for the page of what is not found."""
    return on_post_page(output_content)
