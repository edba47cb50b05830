"""The pages in a real browser: from disk, framed, without script, on a phone, in the dark."""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.pages import hostile_facts, sample_facts
from tunepipe.data.predictions import Prediction
from tunepipe.evaluation.score import evaluate
from tunepipe.reporting.report import report_page
from tunepipe.reporting.validation_page import validation_page

playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
pytestmark = pytest.mark.skipif(
    not CHROMIUM, reason="no Chromium: apt-get install chromium, or brew install chromium"
)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PAGES = ("report", "hostile", "validation", "classes")

OPEN_ALL = "document.querySelectorAll('details').forEach((one) => { one.open = true; })"
# Every visible piece of text against what lies behind it, by WCAG 2.2's contrast ratio.
CONTRASTS = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const color = parse(getComputedStyle(e).backgroundColor);
      if (color[3] !== 0) return color;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const element of document.body.querySelectorAll("*:not(script, title, desc)")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const color = parse(element.closest("svg") ? style.fill : style.color);
    const [a, b] = [light(color), light(behind(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) poor.push([element.className.baseVal ?? element.className, ratio]);
  }
  return poor;
}"""


# Sixteen red pixels square.
PIXELS = (
    "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAIAAACQkWg2AAAAFklEQVR42mP4z8BAEmIY1TCqYfhqAACQ"
    "+f8B8u7oVwAAAABJRU5ErkJggg=="
)


def classified_facts() -> dict[str, Any]:
    """Scores of a classification that lost a class, with an empty answer and a picture."""
    rows = [
        Prediction(str(n), f"q {n}", "fraud" if n % 5 == 0 else "normal", "")
        for n in range(60)
    ]  # fmt: skip
    tuned = [replace(row, prediction="normal" if int(row.id) else "") for row in rows]
    base = [replace(row, prediction=row.reference if int(row.id) % 9 else "?") for row in rows]
    found = evaluate(tuned, base, task="classification")
    shown = [
        {"id": row.id, "input": row.input, "reference": row.reference, "tuned": row.prediction,
         "base": other.prediction, "flip": ""}
        for row, other in zip(tuned, base, strict=True)
    ]  # fmt: skip
    image = f"data:image/png;base64,{PIXELS}"
    shown[1]["media"] = [{"mime_type": "image/png", "uri": "gs://b/red.png", "image": image}]
    details = found.details()
    return {
        "title": "Classes",
        "verdict": found.comparison.verdict,
        "reason": "By accuracy.",
        "scores": {"tuned": details, "base": found.baseline},
        "comparisons": {"base": details["comparison"]},
        "rows": shown,
    }


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    files = {name: folder / f"{name}.html" for name in PAGES}
    texts = {
        "report": report_page(sample_facts()),
        "hostile": report_page(hostile_facts()),
        "validation": validation_page(sample_facts()["dataset"]),
        "classes": report_page(classified_facts()),
    }
    for name, file in files.items():
        file.write_text(texts[name], encoding="utf-8")
    return files


@pytest.fixture(scope="module")
def opened(browser: Any, pages: dict[str, Path]) -> Iterator[Any]:
    """Open a page as a user would, once; see at the end that all were silent and asked nothing."""
    context = browser.new_context()
    tabs: dict[str, Any] = {}
    said: list[str] = []
    asked: list[str] = []

    def open_page(name: str, width: int = 1200, scheme: str = "light") -> Any:
        if name not in tabs:
            tabs[name] = page = context.new_page()
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
            page.on("request", lambda request: asked.append(request.url))
            page.goto(pages[name].as_uri())
        tabs[name].set_viewport_size({"width": width, "height": 800})
        tabs[name].emulate_media(color_scheme=scheme)
        return tabs[name]

    yield open_page
    context.close()
    assert said == []
    assert set(asked) == {pages[name].as_uri() for name in tabs}


def await_rows(page: Any, count: int) -> None:
    playwright.expect(page.locator("li.row:visible")).to_have_count(count)


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [360, 390, 1200])
def test_pages_fit_their_width(opened, name, width):
    page = opened(name, width)
    page.evaluate(OPEN_ALL)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("name", ["report", "validation"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(opened, name, scheme):
    page = opened(name, scheme=scheme)
    page.evaluate(OPEN_ALL)
    assert page.evaluate(CONTRASTS) == []
    paper = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--paper')")
    (brightness,) = [int(paper.strip()[1:3], 16)]
    assert (brightness < 64) == (scheme == "dark")


def test_the_search_and_the_filter_narrow_the_rows(opened):
    page = opened("report")
    facts = sample_facts()
    status = page.get_by_role("status")
    playwright.expect(status).to_have_text("96 of 96 rows")
    page.get_by_role("radio", name="worse").check()
    broken = sum(row["flip"] == "broken" for row in facts["rows"])
    playwright.expect(status).to_have_text(f"{broken} of 96 rows")
    await_rows(page, broken)
    page.get_by_role("radio", name="all", exact=True).check()
    wanted = next(row for row in facts["rows"] if not row["input"].isascii())
    page.get_by_role("searchbox").fill(wanted["input"].upper())
    playwright.expect(status).to_have_text(re.compile("^[1-9] of 96 rows$"))
    assert wanted["id"] in page.locator("li.row:visible").first.text_content()
    page.get_by_role("searchbox").fill("no such words anywhere")
    playwright.expect(status).to_have_text("0 of 96 rows")
    page.get_by_role("searchbox").fill("")
    playwright.expect(status).to_have_text("96 of 96 rows")


def test_words_split_by_a_mark_are_found(opened):
    page = opened("report")
    changed = next(
        row["tuned"]
        for row in sample_facts()["rows"]
        if row["flip"] == "broken" and row["tuned"] != row["reference"]
    )
    page.get_by_role("searchbox").fill(changed)
    playwright.expect(page.get_by_role("status")).to_have_text(re.compile("^[1-9] of 96 rows$"))
    page.get_by_role("searchbox").fill("")
    playwright.expect(page.get_by_role("status")).to_have_text("96 of 96 rows")


def test_everything_can_be_read_without_script(browser, pages):
    page = browser.new_page(java_script_enabled=False)
    page.goto(pages["report"].as_uri())
    rows = sample_facts()["rows"]
    assert page.get_by_role("searchbox").count() == 0
    assert page.locator("li.row").count() == len(rows)
    others = sum(not row["flip"] and row["tuned"] is not None for row in rows)
    await_rows(page, len(rows) - others)
    # By key, which hits wherever the page moves: on a busy machine one click had no effect.
    heading = page.get_by_role("heading", name="All other rows")
    page.locator("summary").filter(has=heading).press("Enter")
    await_rows(page, len(rows))
    page.close()


def test_a_viewer_may_frame_the_page(browser):
    source = html.escape(report_page(sample_facts(5)))
    sandboxes = ("", "allow-scripts", "allow-scripts allow-same-origin")
    frames = [f'<iframe sandbox="{each}" srcdoc="{source}"></iframe>' for each in sandboxes]
    page = browser.new_page()
    page.set_content("".join(frames))
    for number, sandbox in enumerate(sandboxes):
        frame = page.frame_locator("iframe").nth(number)
        assert frame.get_by_role("heading", level=2).first.inner_text().endswith("is better.")
        assert frame.get_by_role("searchbox").count() == ("allow-scripts" in sandbox)
    page.close()


def test_the_keyboard_reaches_every_control_and_the_focus_shows(opened):
    page = opened("report")
    page.reload()
    seen = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        name, outline = page.evaluate(
            "() => { const e = document.activeElement; const s = getComputedStyle(e);"
            " return [e.type || e.tagName.toLowerCase(), s.outlineStyle + ' ' + s.outlineWidth] }"
        )
        if name == "body":
            break
        assert outline == "solid 2px"
        seen.add(name)
    assert {"search", "radio", "summary", "div"} <= seen
    page.get_by_role("searchbox").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    playwright.expect(page.get_by_role("radio", name="worse")).to_be_checked()
    await_rows(page, sum(row["flip"] == "broken" for row in sample_facts()["rows"]))
    page.get_by_role("radio", name="all", exact=True).check()


def test_a_screen_reader_finds_landmarks_headings_charts_and_tables(opened):
    tree = opened("report").locator("body").aria_snapshot()
    for role in ("banner", "main", "contentinfo", "search", "searchbox", "status"):
        assert re.search(rf"^\s*- {role}\b", tree, re.MULTILINE)
    for name in ('region "Scores"', 'region "Rows"', 'heading "Order memos, a sample report"'):
        assert name in tree
    assert len(re.findall(r"""^\s*- '?img "[^"]+""", tree, re.MULTILINE)) == 7
    assert 'rowheader "object exact"' in tree
    assert tree.count("- deletion") > 5


def test_hostile_texts_run_nothing(opened):
    page = opened("hostile")
    page.get_by_role("searchbox").fill("<script>alert(1)</script>")
    playwright.expect(page.get_by_role("status")).to_have_text(re.compile("^[1-9]"))
    assert page.locator("img").count() == 0


def test_tables_are_sorted_by_click_and_by_keyboard(opened):
    page = opened("report")
    page.reload()
    table = page.locator("table.sortable").first
    head = table.locator("thead th").nth(1)

    def values() -> list[float]:
        cells = table.locator("tbody tr td:nth-of-type(1) b").all_inner_texts()
        return [float(text.replace("\u2212", "-")) for text in cells]

    before = values()
    assert before != sorted(before, reverse=True)
    head.click()
    playwright.expect(head).to_have_attribute("aria-sort", "descending")
    assert values() == sorted(before, reverse=True)
    head.focus()
    page.keyboard.press("Enter")
    playwright.expect(head).to_have_attribute("aria-sort", "ascending")
    assert values() == sorted(before)
    page.keyboard.press("Space")
    playwright.expect(head).to_have_attribute("aria-sort", "descending")
    assert values() == sorted(before, reverse=True)
    name = table.locator("thead th").first
    name.press("Enter")
    playwright.expect(name).to_have_attribute("aria-sort", re.compile("ending"))
    names = table.locator("tbody th").all_inner_texts()
    assert names == sorted(names, reverse=True)
    assert head.get_attribute("aria-sort") is None


def test_a_dead_class_an_empty_answer_and_a_picture_are_seen(opened):
    page = opened("classes", 390)
    page.reload()
    caveat = page.get_by_text("What this does not show:").locator("..")
    assert caveat.is_visible()
    assert "never right any more: fraud" in caveat.inner_text()
    assert page.get_by_role("img", name="F1 of each class").count() == 1
    slices = page.get_by_role("region", name="Every slice")
    slices.scroll_into_view_if_needed()
    assert "class=fraud" in slices.inner_text()
    page.evaluate(OPEN_ALL)
    empty = page.locator("li.row", has_text="q 0").first
    empty.scroll_into_view_if_needed()
    assert empty.get_by_text("(empty)").is_visible()
    picture = page.locator("li.row img")
    picture.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('li.row img').complete")
    assert picture.evaluate("(image) => image.naturalWidth") == 16
    assert picture.get_attribute("alt") == "gs://b/red.png"


def test_numbers_are_written_in_one_way(opened):
    """Scores and differences are points of 100 with one digit, and a minus is no hyphen."""
    for name in ("report", "classes"):
        cells = opened(name).locator("section[aria-labelledby=scores] td.n").all_text_contents()
        assert len(cells) > 20
        for cell in cells:
            assert not re.search(r"(?<![\d.])-\d", cell), cell
            if "p " not in cell:
                assert not re.search(r"(?<![\d.\u202f])[+\u2212]?0\.\d{2,}", cell), cell
