import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
GENERATE = runpy.run_path(str(DOCS / "generate.py"))


@pytest.mark.parametrize("name", GENERATE["PAGES"])
def test_generated_pages_are_current(name):
    text = (DOCS / name).read_text(encoding="utf-8")
    assert GENERATE["rendered"](text) == text, "run: python docs/generate.py"


def test_a_stale_part_is_seen():
    page = "before\n<!-- generated: regions -->\nold\n<!-- end -->\nafter\n"
    made = GENERATE["rendered"](page)
    assert made != page
    assert "us-central1" in made
    assert made.startswith("before\n")
    assert made.endswith("<!-- end -->\nafter\n")


def test_every_part_stands_on_a_page():
    pages = "".join((DOCS / name).read_text(encoding="utf-8") for name in GENERATE["PAGES"])
    assert all(f"<!-- generated: {part} -->" in pages for part in GENERATE["PARTS"])
