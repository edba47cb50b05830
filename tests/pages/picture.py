"""Take the picture of the sample report that the documentation shows.

Usage: python -m tests.pages.picture docs/images/report.png
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.fixtures.pages import sample_facts
from tunepipe.reporting.report import report_page

WIDTH, HEIGHT = 1200, 1050


def main(target: str) -> None:
    """Write the top of the sample report, as a light page on a desk's screen, as PNG."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as running:
        page = Path(folder) / "report.html"
        page.write_text(report_page(sample_facts()), encoding="utf-8")
        browser = running.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        tab.goto(page.as_uri())
        tab.screenshot(path=target)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1])
