import fcntl
import io
import json
import os
import re
import resource
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
import typer

from tests.waiting import until
from tunepipe.cli import config, main, output
from tunepipe.errors import DataError
from tunepipe.runs import status as run_status

# `google` and `google.cloud` are namespaces that an environment's .pth files bring.
HEAVY = {
    "google.api_core", "google.auth", "google.cloud.storage", "google.genai", "google.protobuf",
    "grpc", "kfp", "kubernetes", "numpy", "pandas", "pyarrow", "pydantic", "rich", "scipy", "torch",
    "transformers", "yaml",
}  # fmt: skip


def said(capfd, *arguments):
    code = main.run(list(arguments))
    found = capfd.readouterr()
    return code, found.out, found.err


PLAN = ("plan", "--rows", "240", "--region", "us-central1")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), 0),
        (("--help",), 0),
        (("-h",), 0),
        (("--version",), 0),
        (("schedule",), 0),
        (("schedule", "apply", "-h"), 0),
        (("schedule", "nothing"), 2),
        (("plan", "--help"), 0),
        (PLAN, 0),
        (("plan", "--rows", "9", "--region", "us-central1"), 1),
        (("nothing",), 2),
        (("plan",), 2),
        (("plan", "--rows", "many"), 2),
        (("plan", "--rows", "-1", "--region", "us-central1"), 2),
        ((*PLAN, "--train-steps", "0"), 2),
        ((*PLAN, "--epochs", "0"), 2),
        ((*PLAN, "--max-cost-usd", "-3"), 2),
        ((*PLAN, "--epochs", "1", "--train-steps", "30"), 2),
        ((*PLAN, "--regoin", "x"), 2),
        (("plan", "no-such-file.jsonl", "--region", "us-central1"), 2),
        (("plan", "*.jsonl", "--region", "us-central1"), 2),
        ((*PLAN, "--tables", "no-such-file.toml"), 2),
        ((*PLAN, "--max-cost-usd", "36.13"), 3),
        (("plan", "--rows", "240", "--region", "us-east1"), 3),
        (("plan", "--rows", "240"), 2),
    ],
)
def test_exit_codes(capfd, arguments, code):
    assert said(capfd, *arguments)[0] == code


@pytest.mark.parametrize(
    "arguments",
    [
        ("nothing", "--json"),
        ("plan", "--rows", "many", "--json"),
        ("plan", "--rows", "9", "--region", "us-central1", "--json"),
        (*PLAN, "--max-cost-usd", "1", "--json"),
    ],
)
def test_an_error_is_one_json_object_too(capfd, arguments):
    code, out, err = said(capfd, *arguments)
    error = json.loads(out)["error"]
    assert list(error) == ["found", "where", "fix", "exit_code"]
    assert error["exit_code"] == code
    assert error["found"]
    assert err == ""


@pytest.mark.parametrize(
    ("arguments", "places"),
    [
        (
            ("plan", "--rows", "99", "--epochs", "1", "--train-steps", "2"),
            "--epochs, --train-steps",
        ),
        (("plan", "--rows", "99", "--model", "none", "--region", "us-central1"), "--model"),
        (("plan", "--rows", "99", "--format", "psalm"), "--format"),
        (("plan", "--region", "us-central1"), "dataset, --rows"),
        (("validate", "rows.jsonl", "--format", "psalm"), "--format"),
        (("convert", "rows.jsonl", "out.jsonl", "--to", "psalm"), "--to"),
        (("convert", "odd.jsonl", "out.jsonl", "--to", "palm"), "odd.jsonl"),
        (("validate", "rows.jsonl", "--workers", "257"), "--workers"),
        (("plan", "--rows", "99", "--tokenizer", "folder"), "--tokenizer"),
        (("split", "rows.jsonl", "--train", "t", "--eval", "e", "--format", "psalm"), "--format"),
        (
            ("split", "rows.jsonl", "--train", "t", "--eval", "e", "--eval-min=2", "--eval-max=1"),
            "--eval-min, --eval-max",
        ),
        (("plan", "rows.jsonl", "--backend", "none"), "--backend"),
        (("run", "--dataset", "rows.jsonl", "--backend", "none"), "--backend"),
        (("run", "--dataset", "rows.jsonl", "--base-model", "none"), "--model"),
        (("doctor", "--model", "none"), "--model"),
        (("doctor", "--dataset", "rows.jsonl", "--backend", "none"), "--backend"),
        (
            (
                "schedule",
                "apply",
                "--name",
                "a",
                "--cron",
                "0 3 * * *",
                "--dataset",
                "rows.jsonl",
                "--backend",
                "none",
            ),
            "--backend",
        ),
        (("score", "answers.jsonl", "--margin", "2"), "--margin"),
        (("score", "answers.jsonl", "--task", "none"), "--task"),
        (("score", "answers.jsonl", "--seed", "-1"), "--seed"),
        (("score", "answers.jsonl", "--normalize", "none"), "--normalize"),
    ],
)
def test_a_wrong_option_is_named_as_it_was_given(capfd, tmp_path, arguments, places):
    (tmp_path / "rows.jsonl").write_text('{"input_text": "a", "output_text": "b"}\n')
    (tmp_path / "odd.jsonl").write_text('{"a": "a", "b": "b", "c": "c"}\n')
    (tmp_path / "answers.jsonl").write_text(
        '{"id": "1", "input": "a", "reference": "b", "prediction": "c"}\n'
    )
    code, out, _ = said(capfd, *arguments, "--json")
    assert code == 2
    assert json.loads(out)["error"]["where"] == places


@pytest.mark.parametrize(
    ("options", "model"),
    [
        ((), "text-bison@001"),
        (("--format", "messages"), "gemini-3.5-flash"),
        (("--format", "palm-chat"), "chat-bison@001"),
    ],
)
def test_a_plan_of_a_number_of_rows_takes_the_first_model_of_their_format(capfd, options, model):
    code, out, _ = said(capfd, *PLAN, *options, "--json")
    assert (code, json.loads(out)["model"]) == (0, model)


def test_an_error_is_json_by_the_environment_and_by_the_file(capfd, tmp_path, monkeypatch):
    (tmp_path / "tunepipe.toml").write_text("json = true\n")
    assert "error" in json.loads(said(capfd, "plan", "--rows", "9")[1])
    (tmp_path / "tunepipe.toml").unlink()
    monkeypatch.setenv("TUNEPIPE_JSON", "1")
    assert "error" in json.loads(said(capfd, "plan", "--rows", "many")[1])


def test_a_defect_is_a_json_object_too_and_quotes_no_row(capfd, monkeypatch):
    def broken(*_):
        raise RuntimeError("a row's text")

    monkeypatch.setattr(config, "defaults", broken)
    monkeypatch.setenv("TUNEPIPE_REGION", "us-central1")
    code, out, err = said(capfd, *PLAN, "--json")
    assert code == main.DEFECT
    assert json.loads(out)["error"]["exit_code"] == main.DEFECT
    assert "a row" not in out
    assert "Traceback" in err
    code, out, err = said(capfd, *PLAN)
    assert (code, out) == (main.DEFECT, "")
    assert "error: a defect of tunepipe (RuntimeError)" in err


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("plan --rows 240 --region us-central1 --json >&LEFT", main.READER_LEFT),
        ("plan --rows 9 --region us-central1 --json >&LEFT", main.READER_LEFT),
        ("--help >&LEFT", main.READER_LEFT),
        ("plan --rows 240 --region us-central1 2>&LEFT", 0),
        ("plan --rows 240 --region us-central1 --json >/dev/full", 2),
        ("plan --rows 9 --region us-central1 --json >/dev/full", 1),
        ("validate nope --json >/dev/full", 2),
        ("--help >/dev/full", 2),
        ("plan --rows 240 --region us-central1 2>/dev/full", 0),
        ("plan --rows 240 --region us-central1 2>&-", 0),
        ("plan --rows 240 --region us-central1 --json >&-", 0),
        ("plan --rows 240 --region us-central1 >&- 2>&- <&-", 0),
        ("validate nope 2>&-", 2),
    ],
)
def test_streams_that_take_nothing_are_no_defect(line, code):
    start = f"{sys.executable} -c 'from tunepipe.cli.main import main; main()'"
    read, left = os.pipe()
    os.close(read)
    done = subprocess.run(
        ["bash", "-c", f"{start} {line.replace('LEFT', str(left))}"],
        capture_output=True,
        text=True,
        timeout=60,
        pass_fds=(left,),
    )
    os.close(left)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert ("cannot be written" in done.stderr) == ("--json >/dev/full" in line)


def test_json_is_all_there_is(capfd):
    code, out, err = said(capfd, *PLAN, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["train_steps"] == 300


def test_an_option_without_its_value_names_its_command(capfd):
    error = json.loads(said(capfd, "plan", "--json", "--rows")[1])["error"]
    assert (error["where"], error["fix"]) == ("tunepipe plan", "tunepipe plan --help")
    assert "--rows" in error["found"]


def test_people_read_standard_error(capfd):
    _, out, err = said(capfd, *PLAN)
    assert out == ""
    assert "36.14 USD" in err
    assert "\x1b" not in err


def test_an_error_says_where_and_how_to_mend_it(capfd):
    _, _, err = said(capfd, "plan", "--rows", "240", "--region", "us-east1")
    assert err.startswith("error: region us-east1: ")
    assert "fix: one of us-central1, europe-west4" in err


def test_flag_then_environment_then_file(capfd, tmp_path, monkeypatch):
    (tmp_path / "tunepipe.toml").write_text('region = "us-central1"\n[plan]\nepochs = 2\n')
    bare = ("plan", "--rows", "240", "--json")
    found = json.loads(said(capfd, *bare)[1])
    assert (found["region"], found["epochs"]) == ("us-central1", 2.0)
    monkeypatch.setenv("TUNEPIPE_REGION", "europe-west4")
    assert json.loads(said(capfd, *bare)[1])["region"] == "europe-west4"
    monkeypatch.setenv("TUNEPIPE_REGION", "us-east1")
    found = json.loads(said(capfd, *bare, "--region", "us-central1")[1])
    assert found["region"] == "us-central1"
    assert found["train_steps"] == 60


def test_a_misspelt_setting_is_wrong_usage(capfd, tmp_path):
    (tmp_path / "tunepipe.toml").write_text('regoin = "us-central1"\n')
    code, _, err = said(capfd, *PLAN)
    assert code == 2
    assert "did you mean region?" in err


def test_the_tables_of_the_user_are_laid_over_ours(capfd, tmp_path):
    (tmp_path / "tunepipe.toml").write_text(
        "[tables.prices.accelerators.TPU_V3]\nusd_per_hour = { europe-west4 = 0.5 }\n"
    )
    europe = ("plan", "--rows", "240", "--region", "europe-west4", "--json")
    assert json.loads(said(capfd, *europe)[1])["estimated_cost_usd"] == 32.0
    (tmp_path / "prices.toml").write_text(
        "[prices.accelerators.TPU_V3]\nusd_per_hour = { europe-west4 = 1.0 }\n"
    )
    found = json.loads(said(capfd, *europe, "--tables", "prices.toml")[1])
    assert found["estimated_cost_usd"] == 64.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[tables.prices.acelerators.X]\n", "did you mean accelerators?"),
        (
            "[tables.prices.accelerators.NVIDIA_A100_80GB]\nusd_per_hour = {us-central1 = -10.0}\n",
            "a number, 0 or more",
        ),
        ('[tables.models.models."text-bison@001"]\nbatch_size = 0\n', "1 or more"),
    ],
)
def test_tables_that_do_not_fit_are_wrong_usage(capfd, tmp_path, text, words):
    (tmp_path / "tunepipe.toml").write_text(text)
    code, out, _ = said(capfd, *PLAN, "--max-cost-usd", "1", "--json")
    assert code == 2
    assert words in json.loads(out)["error"]["fix"]


def test_a_misspelt_variable_is_wrong_usage(capfd, monkeypatch):
    monkeypatch.setenv("TUNEPIPE_MAXCOSTUSD", "1")
    code, _, err = said(capfd, *PLAN)
    assert code == 2
    assert "did you mean TUNEPIPE_MAX_COST_USD?" in err


@pytest.mark.parametrize("verb", [(), ("plan",), ("schedule", "apply")])
@pytest.mark.parametrize("text", ["json = \n", "regoin = 'x'\n", "[tables.price]\n"])
def test_help_comes_whatever_the_settings_say(capfd, tmp_path, monkeypatch, text, verb):
    (tmp_path / "tunepipe.toml").write_text(text)
    monkeypatch.setenv("TUNEPIPE_NOTHING", "1")
    code, out, _ = said(capfd, *verb, "--help")
    assert code == 0
    assert out.startswith("Usage: tunepipe")


PROBE = """
import sys
from tunepipe.cli.main import run
code = run(sys.argv[1:])
print(code, *sys.modules, file=sys.stderr)
"""


def loaded(*arguments):
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, timeout=60
    )
    code, *names = done.stderr.splitlines()[-1].split()
    return int(code), set(names)


def test_a_start_loads_nothing_heavy(tmp_path):
    rows = [{"input_text": f"question {n}", "output_text": f"answer {n}"} for n in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for arguments in (
        ("--help",),
        ("plan", "rows.jsonl", "--region", "us-central1"),
        ("split", "rows.jsonl", "--train", "t.jsonl", "--eval", "e.jsonl"),
    ):
        code, names = loaded(*arguments)
        assert code == 0
        assert "typer" in names
        assert not names & HEAVY


def test_a_reader_that_leaves_is_no_defect():
    process = subprocess.Popen(
        [sys.executable, "-c", "from tunepipe.cli.main import main; main()", *PLAN, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    assert process.wait(60) == main.READER_LEFT
    assert b"Traceback" not in process.stderr.read()


def test_colour_is_for_terminals(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    assert output.Output(stream=Terminal()).styled("x", "red") == "\x1b[31mx\x1b[0m"
    assert output.Output(stream=io.StringIO()).styled("x", "red") == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert output.Output(stream=Terminal()).styled("x", "red") == "x"


def test_a_dumb_terminal_gets_plain_lines(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setattr(sys, "stderr", Terminal())
    for name, live in (("dumb", False), ("xterm", True)):
        monkeypatch.setenv("TERM", name)
        assert (output.Output().styled("x", "red") != "x") == live
        assert isinstance(run_status.view(), run_status.Terminal) == live


def test_help_shows_verbs_in_groups_and_an_example_in_each(capfd):
    out = said(capfd, "--help")[1]
    assert re.findall(r"^(\w+):$", out, re.MULTILINE) == ["Options", "Data", "Runs", "Models"]
    assert "..." not in out.partition("Data:")[2], "a verb's first line does not fit"
    command = typer.main.get_command(main.command_app())
    for path in verbs(command):
        shown = said(capfd, *path, "-h")[1]
        example = shown.partition("Example:\n")[2].strip()
        assert example.startswith(" ".join(["tunepipe", *path])), path
        options = set(re.findall(r" (--[a-z-]+)", example))
        assert all(f"{option} " in shown.partition("Example:")[0] for option in options), example
    assert re.findall(r"^([A-Z]\w+):$", said(capfd, "run", "-h")[1], re.MULTILINE) == [
        "Data", "Tuning", "Evaluation", "Place", "Cost", "Messages", "Options", "Example",
    ]  # fmt: skip


def verbs(command, *path):
    for name, below in command.commands.items():
        if hasattr(below, "commands"):
            yield from verbs(below, *path, name)
        else:
            yield [*path, name]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_verbs_and_options(shell):
    start = [sys.executable, "-c", "from tunepipe.cli.main import main; main()"]
    line = "tunepipe schedule ap"
    variables = {
        "_TUNEPIPE_COMPLETE": f"complete_{shell}", "COMP_WORDS": line, "COMP_CWORD": "2",
        "_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }  # fmt: skip
    done = subprocess.run(
        start, env={**os.environ, **variables}, capture_output=True, text=True, timeout=60
    )
    assert "apply" in done.stdout
    assert done.returncode == 0
    assert done.stderr == ""


def test_columns_line_up_under_wide_characters():
    stream = io.StringIO()
    output.Output(stream=stream).table([("お茶", "1"), ("tea", "22")])
    assert stream.getvalue() == "  お茶  1\n  tea   22\n"


def test_json_survives_half_a_surrogate_pair(capfdbinary):
    output.print_json({"a": "\ud83d", "b": "お茶"})
    out = capfdbinary.readouterr().out
    assert json.loads(out) == {"a": "\ud83d", "b": "お茶"}
    assert "お茶".encode() in out


def test_an_error_shows_nothing_but_its_three_parts(capfd):
    output.print_error(DataError("found", where="where", fix="fix"), as_json=False)
    assert capfd.readouterr().err == "error: where: found\n  fix: fix\n"


def test_an_interrupt_ends_with_130():
    program = """
import signal
# What runs the tests in the background may have told its children to pass over it.
signal.signal(signal.SIGINT, signal.default_int_handler)
from tunepipe.cli.main import main
main()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program, "validate", "-"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    # It has read all there is and waits for more, which is where a user would interrupt; while
    # modules are imported Python may lose the signal.
    process.stdin.write(b'{"input_text": "q", "output_text": "a"}\n' * 10_000)
    process.stdin.flush()
    until(lambda: is_empty(process.stdin) and is_asleep(process.pid))
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == main.INTERRUPTED
    assert b"Traceback" not in process.stderr.read()


def is_empty(pipe):
    return not struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"    "))[0]


def is_asleep(pid):
    """Whether a process has used no CPU for a while: its threads all wait."""

    def ticks():
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]

    before = ticks()
    time.sleep(0.3)
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S" and (
        ticks() == before
    )


def test_a_plan_names_each_figure_once(capfd):
    text = said(capfd, *PLAN)[2]
    assert "  steps                      300 (10 epochs)\n" in text
    assert "  smallest difference shown  34.4 points, by 24 held-out rows\n" in text
    assert "24 held-out rows x 1 answer x 2 models = 48 answers\n" in text


def test_a_plan_of_a_number_of_rows_reads_no_data_and_is_quick():
    arguments = ("plan", "--rows", "240", "--region", "us-central1")
    code, names = loaded(*arguments)
    assert code == 0
    assert not [name for name in names if name.startswith(("tunepipe.data", "tunepipe.validation"))]
    assert not names & {"tunepipe.cli.inputs", "tunepipe.cli.token_counts", "requests", "rich"}
    plan = quickest([sys.executable, "-m", "tunepipe", *arguments])
    # 0.11 seconds of CPU on a machine that needs 0.05 for what every verb imports.
    assert plan < 5 * quickest([sys.executable, "-c", "import typer"])


def quickest(command):
    """The least CPU seconds that a command took in five runs."""
    seconds = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(seconds)
