"""The pages: generated parts are current, commands and links exist, and code runs as written."""

import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas
import pytest
import typer
import yaml

from tunepipe.cli import main
from tunepipe.cli.main import command_app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
GENERATE = runpy.run_path(str(DOCS / "generate.py"))
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md"))]
BLOCK = re.compile(r"^```([\w ]+?)(?: title=\"(.+?)\")?\n(.*?)^```$", re.DOTALL | re.MULTILINE)


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


def test_every_generated_part_is_on_a_page():
    pages = "".join((DOCS / name).read_text(encoding="utf-8") for name in GENERATE["PAGES"])
    assert all(f"<!-- generated: {part} -->" in pages for part in GENERATE["PARTS"])


def verbs(command, *path):
    for name, below in command.commands.items():
        if hasattr(below, "commands"):
            yield from verbs(below, *path, name)
        else:
            yield " ".join([*path, name]), {word for one in below.params for word in one.opts}


OPTIONS = dict(verbs(typer.main.get_command(command_app())))


def commands(page):
    """The lines of a page that call tunepipe, each with the lines that it goes on in."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    fenced = "".join(block for _, _, block in BLOCK.findall(text))
    indented = "".join(re.findall(r"^    (.*\n)", text, re.MULTILINE))
    for line in re.findall(r"^(?:\$ )?(tunepipe [a-z].*)", fenced + indented, re.MULTILINE):
        yield re.sub(r"\s+#.*", "", line)
    yield from re.findall(r"`(tunepipe [a-z][^`\n]*)`", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_the_pages_have_verbs_and_options_that_exist(page):
    for line in commands(page):
        words = line.split()
        verb = " ".join(words[1:3]) if words[1] == "schedule" and len(words) > 2 else words[1]
        if words[1:] in (["schedule"], ["schedule", "apply,"]):
            continue
        assert verb in OPTIONS, f"{page.name}: {line}"
        used = set(re.findall(r"(?<=\s)(--[a-z][a-z0-9-]*)", line)) - {"--help"}
        assert used <= OPTIONS[verb], f"{page.name}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        assert "OWNER" not in target, page
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_contributing_names_files_and_folders_that_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:[\w.-]+/)+[\w.*-]*)`", text)
    assert len(named) > 25
    for name in named:
        path = name.replace("NOUN", "evaluation").replace("NAME", "local")
        found = [*ROOT.glob(path), *(ROOT / "tunepipe").glob(path)]
        assert found, name
    folders = {
        path.name for path in (ROOT / "tunepipe").iterdir() if (path / "__init__.py").exists()
    }
    table = text.partition("## Five steps")[0]
    assert not {folder for folder in folders if not re.search(rf"\b{folder}/", table)}


def test_every_message_of_troubleshooting_is_one_of_the_program():
    code = "".join(path.read_text("utf-8") for path in (ROOT / "tunepipe").rglob("*.py"))
    table = (DOCS / "troubleshooting.md").read_text("utf-8").split("\n## ")[1]
    messages = [
        message
        for line in table.splitlines()
        if line.startswith("|")
        for message in re.findall(r"`(.+?)`", line.split("|")[1])
    ]
    assert len(messages) > 15
    for message in messages:
        assert all(part.strip() in code for part in message.split("…")), message


def test_nothing_says_to_install_a_name_that_is_not_ours():
    for page in PAGES:
        assert not re.search(r"(pip|pipx|tool) install '?tunepipe(\[\w+\])?'?\s*$",
                             page.read_text("utf-8"), re.MULTILINE), page  # fmt: skip


def test_the_site_is_built_and_asks_nothing_of_the_network(tmp_path):
    command = [Path(sys.executable).with_name("mkdocs"), "build", "--strict", "--quiet"]
    if not command[0].exists():
        command = [sys.executable, "-m", "mkdocs", *command[1:]]
    done = subprocess.run(
        [*command, "--site-dir", tmp_path], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    built = {page.name for page in tmp_path.glob("*.html")}
    assert {page.with_suffix(".html").name for page in DOCS.glob("*.md")} <= built
    for page in tmp_path.glob("*.html"):
        html = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|link|img)\b[^>]*(?:src|href)=\"?([^\"\s>]+)", html)
        outside = [url for url in loaded if url.startswith(("http:", "https:", "//"))]
        assert not outside, page.name


@pytest.fixture
def shop(tmp_path):
    """A folder with the files that docs/extending.md speaks of."""
    shutil.copytree(ROOT / "compiled", tmp_path / "compiled")
    shutil.copy(ROOT / "examples" / "orders.jsonl", tmp_path)
    answers = {"tuned": lambda n: {"quantity": n % 7}, "base": lambda n: {"quantity": 1}}
    for name, answer in answers.items():
        rows = (
            {"id": str(n), "input": "q", "reference": json.dumps({"quantity": n % 7}),
             "prediction": json.dumps(answer(n))}
            for n in range(60)
        )  # fmt: skip
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


LIGHT = tuple(f"tunepipe {name} " for name in ("validate", "split", "plan", "convert", "compile"))
ELSEWHERE = ("command.md", "extending.md", "retraining.md")  # generated; run by tests of their own


def light_blocks(page):
    """The commands of a page that need no run, each with the lines it prints; and its Python."""
    for language, _, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "python":
            yield language, block.replace("train_steps=470", "train_steps=4"), ""
        elif language in ("console", "sh"):
            joined = block.replace("\\\n", " ")
            for part in re.split(r"^(?=\$ |tunepipe )", joined, flags=re.MULTILINE):
                line, _, shown = part.removeprefix("$ ").partition("\n")
                if line.startswith(LIGHT):
                    yield language, line, shown


LIGHT_PAGES = [page for page in PAGES if page.name not in ELSEWHERE and any(light_blocks(page))]


@pytest.mark.parametrize("page", LIGHT_PAGES, ids=lambda page: page.name)
def test_light_commands_and_python_of_a_page_run_as_written(page, shop, monkeypatch, capfd):
    monkeypatch.chdir(shop)
    rows = (shop / "orders.jsonl").read_text(encoding="utf-8").splitlines()
    for name in ("rows", "data", "train", "eval"):
        (shop / f"{name}.jsonl").write_text("\n".join(rows), encoding="utf-8")
    (shop / "examples").mkdir()
    shutil.copy(shop / "orders.jsonl", shop / "examples")
    orders = [{**json.loads(row), "customer": f"c{n % 50}"} for n, row in enumerate(rows)]
    (shop / "orders.jsonl").write_text("".join(json.dumps(row) + "\n" for row in orders))
    faq = pandas.DataFrame({"question": ["q", "r"], "answer": ["a", "b"], "tone": ["", "dry"]})
    faq.to_csv(shop / "faq.csv", index=False)
    for language, text, shown in light_blocks(page):
        if language == "python":
            exec(text, {"frame": faq})
            continue
        capfd.readouterr()
        code = main.run(shlex.split(text, comments=True)[1:])
        printed = capfd.readouterr()
        assert code == 0, f"{text}\n{printed.err}"
        if shown and "--json" in text:
            assert json.loads(shown) == json.loads(printed.out), text
        elif shown and "…" not in shown:
            assert shown.splitlines() == printed.err.splitlines()[: len(shown.splitlines())], text


def test_every_block_of_extending_runs_as_written(shop, monkeypatch, capfd):
    monkeypatch.chdir(shop)
    blocks = BLOCK.findall((DOCS / "extending.md").read_text(encoding="utf-8"))
    assert {language for language, _, _ in blocks} == {"python", "sh", "toml"}
    for language, title, block in blocks:
        if title:
            (shop / title).write_text(block, encoding="utf-8")
            continue
        if language == "python":
            check = ""
            if "dsl.pipeline" in block:
                check = "from kfp import compiler\ncompiler.Compiler().compile(mine, 'mine.yaml')\n"
            (shop / "block.py").write_text(block + check, encoding="utf-8")
            runpy.run_path("block.py")
            continue
        for line in block.splitlines():
            assert line.startswith("tunepipe "), line
            assert main.run(shlex.split(line)[1:]) == 0, f"{line}\n{capfd.readouterr().err}"
            if "shop.py:quantity" in line:
                assert "better" in capfd.readouterr().err
    spec = yaml.safe_load((shop / "mine.yaml").read_text())
    assert set(spec["root"]["dag"]["tasks"]) == {"validate-jsonl", "train"}
    images = re.findall(r"image: (\S+)", (shop / "mine/components/validate_jsonl.yaml").read_text())
    assert images == ["europe-docker.pkg.dev/my-project/images/tunepipe:0.2.0"]
