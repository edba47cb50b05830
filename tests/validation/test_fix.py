import json
import os
import threading
from pathlib import Path

import pytest

from tests import defects
from tunepipe.catalog.limits import LINE_BYTES_MAX
from tunepipe.errors import DataError, UsageError
from tunepipe.validation.fix import fix
from tunepipe.validation.validate import validate


def row(question: str, answer: str) -> bytes:
    return defects.line(defects.row("palm", question, answer))


def test_what_can_be_mended_is_and_the_rest_is_set_apart(tmp_path):
    lines = [
        b"\xef\xbb\xbf" + row("a", "1"),
        b"",
        row("b", "2") + b"\r",
        b'{"output_text": "1", "input_text": "\\u0061"}',
        row("c\x07", "3"),
        b"\xff",
        row("d", ""),
        row("e", "5"),
    ]
    path, out = tmp_path / "rows.jsonl", tmp_path / "fixed.jsonl"
    path.write_bytes(b"\n".join(lines))
    done = fix([path], out)
    whole = [row("a", "1"), row("b", "2"), lines[4], lines[7], b""]
    assert out.read_bytes().split(b"\n") == whole
    assert done.counts == {"bom": 1, "blank-line": 1, "line-end": 1, "duplicate-row": 1}
    assert [(change.line, change.code) for change in done.changes] == [
        (1, "bom"),
        (2, "blank-line"),
        (3, "line-end"),
        (4, "duplicate-row"),
    ]
    rejects = [json.loads(line) for line in (tmp_path / "fixed.rejects.jsonl").open()]
    assert [(x["line"], x["problems"][0]["code"]) for x in rejects] == [
        (6, "not-utf8"),
        (7, "empty-text"),
    ]
    assert rejects[0]["row_base64"] == "/w=="
    assert rejects[1]["row"].encode() == lines[6]
    assert done.as_json()["rows_written"] == 4
    assert done.as_json()["rows_rejected"] == 2


def test_rows_that_share_input_and_output_alone_are_all_kept(tmp_path):
    def turned_down(answer: str) -> dict:
        rated = [(1, "good"), (0, answer)]
        return {
            "contents": [{"role": "user", "parts": [{"text": "q"}]}],
            "completions": [
                {"score": score, "completion": {"role": "model", "parts": [{"text": text}]}}
                for score, text in rated
            ],
        }

    path, out = tmp_path / "rows.jsonl", tmp_path / "fixed.jsonl"
    lines = [defects.line(turned_down(answer)) for answer in ("bad", "worse", "bad")]
    path.write_bytes(b"\n".join(lines))
    done = fix([path], out)
    assert out.read_bytes() == lines[0] + b"\n" + lines[1] + b"\n"
    assert [change.line for change in done.changes] == [3]


def test_control_characters_go_when_asked_and_only_then(tmp_path):
    path, out = tmp_path / "rows.jsonl", tmp_path / "fixed.jsonl"
    twice = b'{"input_text": "x\x01", "input_text": "y", "output_text": "z"}'
    lines = [row("c\x07d", "3\u0085"), row("a", "raw").replace(b"raw", b"r\x00w"), twice]
    path.write_bytes(b"\n".join(lines))
    assert fix([path], out).rows_written == 1
    done = fix([path], out, control_characters=True)
    assert out.read_bytes() == row("cd", "3") + b"\n" + row("a", "rw") + b"\n"
    assert (done.counts["control-character"], done.rows_rejected) == (2, 1)


def test_control_characters_go_at_every_depth(tmp_path):
    path, out = tmp_path / "rows.jsonl", tmp_path / "fixed.jsonl"
    turns = [{"role": "user", "content": "q\x07"}, {"role": "assistant", "content": "a"}]
    path.write_bytes(defects.line({"messages": [turns[0], turns[1] | {"weight": 1}]}))
    assert fix([path], out, control_characters=True).rows_written == 1
    clean = [turns[0] | {"content": "q"}, turns[1] | {"weight": 1}]
    assert json.loads(out.read_bytes()) == {"messages": clean}


def test_the_corrected_copy_passes_whatever_the_defect(tmp_path):
    path, out = tmp_path / "rows.jsonl", tmp_path / "fixed.jsonl"
    kinds = [kind for kind in defects.PAIR_KINDS if kind not in ("too_long", "overlong_line")]
    lines = defects.sound_lines("palm")
    lines += [defects.PAIR_KINDS[kind][1]("palm") for kind in kinds]
    path.write_bytes(b"\r\n".join(lines))
    before = validate([path])
    done = fix([path], path)
    after = validate([path])
    assert before.errors > 0
    assert after.errors == 0
    assert "duplicate-row" not in after.counts
    assert after.rows == done.rows_written
    again = fix([path], out)
    assert out.read_bytes() == path.read_bytes()
    assert (again.counts, again.rows_rejected) == ({}, 0)
    assert not (tmp_path / "fixed.rejects.jsonl").exists()


def test_a_line_too_long_to_keep_is_rejected_without_its_text(tmp_path):
    path, out = tmp_path / "rows.jsonl", tmp_path / "fixed.jsonl"
    path.write_bytes(row("a", "1") + b"\n" + row("x" * LINE_BYTES_MAX, "1") + b"\n" + row("b", "2"))
    done = fix([path], out)
    assert (done.rows_written, done.rows_rejected) == (2, 1)
    assert (tmp_path / "fixed.rejects.jsonl").stat().st_size < 500


def test_what_is_no_jsonl_is_refused_and_leaves_nothing(tmp_path):
    path, out = tmp_path / "rows.jsonl", tmp_path / "fixed.jsonl"
    path.write_bytes(defects.plant("utf16_file"))
    with pytest.raises(DataError, match="UTF-16"):
        fix([path], out, format="palm")
    with pytest.raises(DataError, match="UTF-16"):
        fix([path], out)
    (tmp_path / "odd.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(DataError, match="no row has the fields"):
        fix([tmp_path / "odd.jsonl"], out)
    (tmp_path / "odd.jsonl").unlink()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["-", "pipe"])
def test_what_is_read_again_is_no_pipe(empty_folder, name):
    os.mkfifo("pipe")
    with pytest.raises(UsageError, match=f"format: {name} can be read only once"):
        fix([name], "fixed.jsonl")
    with pytest.raises(UsageError, match=f"size_of: {name} can be read only once"):
        validate([name], size_of={}.get)
    assert os.listdir() == ["pipe"]


def test_a_pipe_is_read_once_where_the_format_is_named(empty_folder):
    os.mkfifo("pipe")
    lines = row("a", "1") + b"\n\n" + row("b", "2") + b"\n"
    threading.Thread(target=Path("pipe").write_bytes, args=[lines], daemon=True).start()
    assert fix(["pipe"], "fixed.jsonl", format="palm").rows_written == 2
