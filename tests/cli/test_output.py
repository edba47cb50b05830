"""What people read cannot steer their terminal, and what is written only its owner reads."""

import io
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tunepipe import progress
from tunepipe.cli.output import Output
from tunepipe.errors import UsageError
from tunepipe.runs.cron import os_timers, parse


class Terminal(io.StringIO):
    def isatty(self):
        return True


ATTACKS = {
    "clear\x1b[2J": "clear\\x1b[2J",
    "title\x1b]0;pwned\x07": "title\\x1b]0;pwned\\x07",
    "c1\x9b2J": "c1\\x9b2J",
    "back\x08\rover": "back\\x08\\x0dover",
    "turn\u202egnp.exe": "turn\\u202egnp.exe",
    "hidden\x1b[8m": "hidden\\x1b[8m",
    "a\nerror: forged": "a\n    error: forged",
    "お茶\tand 🍵": "お茶\tand 🍵",
}


@pytest.mark.parametrize(("text", "shown"), ATTACKS.items())
def test_a_terminal_gets_no_control_character_but_our_styles(monkeypatch, text, shown):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    out = Output(stream=stream)
    out.line(f"{out.styled('error', 'red bold')}: {text}")
    out.table([("name", text)], styles=("bold",))
    out.warnings([text])
    assert stream.getvalue().startswith(f"\x1b[31;1merror\x1b[0m: {shown}\n")
    plain = re.sub(r"\x1b\[(0|1|33|31;1)m", "", stream.getvalue())
    assert all(letter.isprintable() or letter in "\t\n" for letter in plain)
    assert progress.printable(text) == shown


def test_a_file_name_is_shown_escaped(said, tmp_path):
    path = tmp_path / "rows\x1b[2J.jsonl"
    path.write_text('{"input_text": "q", "output_text": "a"}\n')
    _, _, err = said("validate", path)
    assert "\x1b" not in err
    assert "rows\\x1b[2J.jsonl" in err


@pytest.mark.parametrize(("umask", "file", "folder"), [(None, 0o600, 0o700), ("022", 0o644, 0o755)])
def test_only_the_user_reads_what_the_command_writes(tmp_path, umask, file, folder):
    rows = [{"input_text": f"question {n}", "output_text": f"answer {n}"} for n in range(120)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    environment = {**os.environ, **({"TUNEPIPE_UMASK": umask} if umask else {})}
    command = [sys.executable, "-m", "tunepipe", "split", "rows.jsonl"]
    outputs = ["--train", "out/train.jsonl", "--eval", "out/eval.jsonl"]
    subprocess.run(
        [*command, *outputs], cwd=tmp_path, check=True, capture_output=True,
        env={**environment, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert stat.S_IMODE((tmp_path / "out" / "eval.jsonl").stat().st_mode) == file
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == folder


def test_a_umask_that_is_none_is_wrong_usage():
    done = subprocess.run(
        [sys.executable, "-m", "tunepipe", "--version"],
        env={**os.environ, "TUNEPIPE_UMASK": "private"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "TUNEPIPE_UMASK: 'private' is not an octal number" in done.stderr


@pytest.mark.parametrize("text", ["rows\n* * * * * curl x|sh.jsonl", "a\rb", "a\x00b", "a\x1b[2J"])
def test_a_name_adds_no_entry_to_a_crontab_and_no_directive_to_a_unit(text):
    when = parse("0 3 * * 1", "")
    with pytest.raises(UsageError, match="line break"):
        os_timers("weekly", when, ["tunepipe", "run", "--dataset", text])
    command = ["tunepipe", "run", "--dataset", "a b %h $X \"'.jsonl"]
    written = os_timers("weekly", when, command)
    assert len(written["cron"].splitlines()) == 3
    assert r"\%h" in written["cron"]
    assert r'"a b %%h $$X \"' + "'.jsonl\"" in written["service"]
