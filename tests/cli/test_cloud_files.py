"""The verbs on files, where the files lie in a bucket."""

import json
from types import SimpleNamespace

import pytest

from tests.standin import s3 as s3_standin
from tests.standin.session import BUCKET
from tunepipe.cli import main
from tunepipe.stores import storage

ROWS = [{"input_text": f"q {n}", "output_text": f"a {n}"} for n in range(150)]


@pytest.fixture
def bucket(cloud, tmp_path, monkeypatch):
    """A bucket with a dataset in two files; the working directory is empty."""
    monkeypatch.chdir(tmp_path)
    folder = cloud.buckets / BUCKET
    for number, rows in enumerate((ROWS[:75], ROWS[75:])):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"rows-{number}.jsonl").write_text(text)
    return folder


def said(capfd, *arguments):
    code = main.run([*arguments, "--json"])
    return code, json.loads(capfd.readouterr().out)


@pytest.fixture(params=["gs", "s3", "minio"])
def root(request, tmp_path, monkeypatch):
    """A bucket of each kind, with a dataset in two files; the working directory is empty."""
    monkeypatch.chdir(tmp_path)
    request.getfixturevalue("cloud" if request.param == "gs" else "s3")
    root = f"{request.param}://{BUCKET if request.param == 'gs' else s3_standin.BUCKET}/folder"
    for number, rows in enumerate((ROWS[:75], ROWS[75:])):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        storage.write_bytes(text.encode(), f"{root}/rows-{number}.jsonl")
    return root


def test_the_verbs_read_and_write_buckets(root, capfd):
    dataset = f"{root}/rows-*.jsonl"
    code, report = said(capfd, "validate", dataset, "--report", f"{root}/report.html")
    assert (code, report["rows"], report["problems_total"]) == (0, 150, 0)
    assert report["files"][1]["path"].startswith(f"{root}/rows-1.jsonl")
    assert b"<html" in storage.read_bytes(f"{root}/report.html")
    sides = [f"{root}/{name}.jsonl" for name in ("train", "eval")]
    code, split = said(capfd, "split", dataset, "--train", sides[0], "--eval", sides[1])
    assert (code, split["train_rows"] + split["eval_rows"]) == (0, 150)
    held_out = storage.read_bytes(f"{root}/eval.jsonl").splitlines()
    assert len(held_out) == split["eval_rows"]
    code, leak = said(capfd, "validate", sides[0], "--against", sides[1])
    assert (code, leak["counts"]) == (0, {})
    code, done = said(capfd, "convert", sides[1], f"{root}/g.jsonl", "--to", "gemini")
    assert (code, done["written"]) == (0, len(held_out))
    assert len(storage.read_bytes(f"{root}/g.jsonl").splitlines()) == len(held_out)
    code, plan = said(capfd, "plan", dataset, "--region", "us-central1")
    assert (code, plan["rows"]) == (0, 150)
    code, found = said(capfd, "split", dataset, "--train", dataset[:-7] + "0.jsonl", "--eval", "e")
    assert (code, found["error"]["found"]) == (2, "the file is named twice")


def test_what_is_not_there_is_unreadable_input(bucket, capfd):
    code, found = said(capfd, "validate", f"gs://{BUCKET}/nothing.jsonl")
    assert code == 2
    assert "nothing.jsonl" in found["error"]["where"]


def test_what_is_mended_is_named_by_its_place_in_the_bucket(bucket, capfd):
    broken, uri = bucket / "broken.jsonl", f"gs://{BUCKET}/broken.jsonl"
    broken.write_text(f"not json\n\n{json.dumps(ROWS[0])}\n")
    mended = f"gs://{BUCKET}/mended.jsonl"
    _, found = said(capfd, "validate", uri, "--fix", mended, "--format", "palm")
    assert [change["path"] for change in found["fixed"]["changes"]] == [uri]
    rejects = (bucket / "mended.rejects.jsonl").read_text().splitlines()
    assert [json.loads(line)["path"] for line in rejects] == [uri]
    assert json.loads((bucket / "mended.jsonl").read_text()) == ROWS[0]
    _, found = said(capfd, "validate", uri, "--fix", uri)
    assert json.loads(broken.read_text()) == ROWS[0]


def test_a_broken_row_is_named_by_its_place_in_the_bucket(bucket, capfd):
    (bucket / "broken.jsonl").write_text("not json\n")
    uri = f"gs://{BUCKET}/broken.jsonl"
    code, found = said(capfd, "split", uri, "--train", "t.jsonl", "--eval", "e.jsonl")
    assert code in (1, 2)
    assert uri in found["error"]["where"]


def test_the_files_that_rows_point_to_are_looked_up_when_asked(bucket, capfd):
    (bucket / "cat.png").write_bytes(b"\x89PNG")
    (bucket / "big.png").write_bytes(bytes((20 << 20) + 1))

    def row(name: str) -> dict:
        file = {"fileUri": f"gs://{BUCKET}/{name}.png", "mimeType": "image/png"}
        asked = {"role": "user", "parts": [{"text": f"what is {name}?"}, {"fileData": file}]}
        return {"contents": [asked, {"role": "model", "parts": [{"text": "a cat"}]}]}

    broken = json.dumps([{"fileUri": f"gs://{BUCKET}/none.png"}])
    (bucket / "pictures.jsonl").write_text(f"{broken}\n{json.dumps(row('none'))}\n")
    _, report = said(capfd, "validate", f"gs://{BUCKET}/pictures.jsonl", "--check-files")
    errors = [(p["line"], p["code"]) for p in report["problems"] if p["level"] == "error"]
    assert errors == [(1, "not-object"), (2, "missing-file")]
    names = ["cat", "big", "none", "cat", "none"]
    rows = "".join(json.dumps(row(name)) + "\n" for name in names)
    (bucket / "pictures.jsonl").write_text(rows)
    dataset = f"gs://{BUCKET}/pictures.jsonl"
    assert said(capfd, "validate", dataset)[0] == 0
    code, report = said(capfd, "validate", dataset, "--check-files")
    errors = [p for p in report["problems"] if p["level"] == "error"]
    assert (code, [(p["line"], p["code"], p["field"]) for p in errors]) == (
        1,
        [
            (2, "media-limit", "contents[0].parts[1].fileData"),
            (3, "missing-file", "contents[0].parts[1].fileData"),
        ],
    )


def test_the_pipelines_check_looks_the_files_up(bucket, tmp_path):
    from tunepipe.components.validation import validate_jsonl
    from tunepipe.errors import DataError

    file = {"fileUri": f"gs://{BUCKET}/none.png", "mimeType": "image/png"}
    asked = {"role": "user", "parts": [{"text": "what?"}, {"fileData": file}]}
    row = {"contents": [asked, {"role": "model", "parts": [{"text": "a cat"}]}]}
    (bucket / "one.jsonl").write_text(json.dumps(row))
    paths = [
        SimpleNamespace(path=str(tmp_path / name), uri=str(tmp_path / name))
        for name in ("problems.json", "page.html")
    ]
    with pytest.raises(DataError, match="missing-file 1"):
        validate_jsonl.python_func(*paths, None, dataset_uri=f"gs://{BUCKET}/one.jsonl")
