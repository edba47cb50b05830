"""The model from nothing: it learns, it is the same each time, and it survives being killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from itertools import product
from logging import getLogger

import pytest
import torch
from safetensors.torch import load_file
from transformers.utils import logging

from tunepipe.backends.base import Prompt, TuningRequest
from tunepipe.backends.local import backend, tiny_model
from tunepipe.data.rows import read_examples
from tunepipe.errors import DataError, UsageError

COLOURS = {"red": "R1", "blue": "B2", "green": "G3", "赤": "R1", "青": "B2", "緑": "G3"}
SIZES = {"small": "S", "medium": "M", "large": "L", "huge": "XL", "小": "S", "大": "L"}
THINGS = {"cup": "11", "plate": "12", "spoon": "13", "bowl": "14", "皿": "12"}
WORDS = list(product(COLOURS, SIZES, THINGS))


def write_rows(path, chosen):
    """Three words to a code: `red small cup` to `R1/S/11`."""
    with path.open("w", encoding="utf-8") as file:
        for colour, size, thing in chosen:
            code = f"{COLOURS[colour]}/{SIZES[size]}/{THINGS[thing]}"
            row = {"input_text": f"{colour} {size} {thing}", "output_text": code}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return str(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    held_out = WORDS[::7]
    taught = [words for words in WORDS if words not in held_out]
    return write_rows(folder / "train.jsonl", taught), write_rows(folder / "eval.jsonl", held_out)


def request(data, **changes):
    settings = {"train_steps": 6, "batch_size": 8, "options": {"checkpoint_every": 2}}
    return TuningRequest("", *data, **{**settings, **changes})


def run(request, folder, events=None):
    return backend.tune(request, str(folder), lambda e: events is None or events.append(dict(e)))


def weights(folder):
    return {
        name: t.numpy().tobytes() for name, t in load_file(f"{folder}/model.safetensors").items()
    }


def asked(path):
    examples = list(read_examples(path))
    return [Prompt(one.id, one.messages) for one in examples], [one.reference for one in examples]


def exact_match(model, path):
    prompts, references = asked(path)
    answers = {answer.id: answer.text for answer in backend.predict(model, prompts)}
    right = [answers[p.id] == wanted for p, wanted in zip(prompts, references, strict=True)]
    return sum(right) / len(right)


@pytest.fixture(scope="module")
def short(data, tmp_path_factory):
    """A run of six steps."""
    return run(request(data), tmp_path_factory.mktemp("short"))


@pytest.fixture(scope="module")
def learnt(data, tmp_path_factory):
    """A run that is long enough to learn this task."""
    return run(request(data, train_steps=80, batch_size=16), tmp_path_factory.mktemp("learnt"))


def test_it_learns_what_it_was_taught_and_answers_what_it_never_saw(data, learnt):
    assert exact_match(learnt.model, data[1]) >= 0.8
    assert exact_match(learnt.statistics["base_model"], data[1]) == 0


def test_the_statistics(learnt):
    found = learnt.statistics
    assert found["train_steps"] == 80
    assert 0 < found["final_loss"] < found["untrained_loss"]
    assert found["parameters"] == found["trained_parameters"] < 400_000
    assert found["tokens"] > 80 * 8
    assert found["tokens_per_second"] > 0
    assert found["loss_curve"][0] == [0, None, found["untrained_loss"]]
    assert found["loss_curve"][-1][0] == 80
    assert [step for step, _, _ in found["loss_curve"]] == sorted(
        {step for step, _, _ in found["loss_curve"]}
    )
    assert "trained from scratch on" in found["note"]
    json.dumps(found, allow_nan=False)


def test_a_short_run_measures_these_numbers(short):
    found = dict(short.statistics)
    steps, training, evaluation = map(list, zip(*found.pop("loss_curve"), strict=True))
    assert (steps, training[0]) == ([0, 1, 2, 3, 4, 5, 6], None)
    losses = [5.80477, 5.44158, 5.24711, 5.04782, 4.88911, 4.76482]
    assert training[1:] == pytest.approx(losses, rel=1e-3)
    losses = [5.77197, 5.45464, 5.19224, 4.96243, 4.79262, 4.68731, 4.63589]
    assert evaluation == pytest.approx(losses, rel=1e-3)
    for name in ("seconds", "tokens_per_second"):
        assert found.pop(name) > 0
    assert found == {
        "train_steps": 6, "resumed_from_step": 0, "tokens": 539, "best_step": 6,
        "untrained_loss": evaluation[0], "final_loss": evaluation[-1], "parameters": 309_072,
        "trained_parameters": 309_072, "device": "cpu", "processes": 1,
        "base_model": f"{short.model}/base",
        "note": "A tiny model of 309,072 parameters, trained from scratch on 154 rows: it knows "
        "this one task and no language beyond it. It shows that the pipeline works, not what a "
        "large model would do.",
    }  # fmt: skip


def test_batched_answers_are_those_of_one_prompt_at_a_time(data, learnt):
    prompts, _ = asked(data[1])
    prompts.append(Prompt("longer", [{"role": "user", "content": "red large cup " * 9}]))

    def answers(**settings):
        return {a.id: a.text for a in backend.predict(learnt.model, prompts, **settings)}

    assert answers(batch_size=16) == answers(batch_size=1)
    assert all(len(text) <= 2 for text in answers(max_output_tokens=1).values())


def test_the_folder_opens_with_transformers(learnt):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(learnt.model)
    model = AutoModelForCausalLM.from_pretrained(learnt.model)
    turns = [{"role": "user", "content": "red small cup"}]
    ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt")
    written = model.generate(**ids, max_new_tokens=16)[0, ids["input_ids"].shape[1] :]
    assert tokenizer.decode(written, skip_special_tokens=True) == "R1/S/11"


@pytest.mark.parametrize("text", ["髙橋 𠮷野家 🍵", "tab\tnew\nline", "naïve 12½", ""])
def test_no_text_is_unknown_to_the_tokenizer(learnt, text):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(learnt.model)
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_digits_stay_single_and_rare_pairs_unmerged(learnt):
    from transformers import AutoTokenizer

    vocabulary = AutoTokenizer.from_pretrained(learnt.model).get_vocab()
    assert not [token for token in vocabulary if len(token) > 1 and set(token) & set("0123456789")]


def test_one_seed_gives_one_model_and_another_another(data, short, tmp_path):
    same = run(request(data), tmp_path / "same")
    other = run(request(data, seed=1), tmp_path / "other")
    assert weights(same.model) == weights(short.model)
    assert weights(other.model) != weights(short.model)
    assert weights(f"{other.model}/base") != weights(f"{short.model}/base")


KILLED = """
import sys, time
from tunepipe.backends.base import TuningRequest
from tunepipe.backends.local import backend

def tell(event):
    print(event["done"], flush=True)
    if event["done"] == 5:
        time.sleep(60)

options = {"checkpoint_every": 2}
backend.tune(TuningRequest("", *sys.argv[1:3], 6, 8, options=options), sys.argv[3], tell)
"""


def test_a_killed_run_goes_on_and_ends_with_the_weights_of_an_unbroken_one(data, short, tmp_path):
    command = [sys.executable, "-c", KILLED, *data, str(tmp_path)]
    errors = tmp_path / "errors.txt"
    with errors.open("w") as file:
        step = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True)
    for done in range(1, 6):
        assert step.stdout.readline() == f"{done}\n"
    os.kill(step.pid, signal.SIGKILL)
    step.wait()
    assert errors.read_text() == ""  # the libraries warn of what no user can change
    assert not (tmp_path / "model.safetensors").exists()
    events: list[dict] = []
    resumed = run(request(data), tmp_path, events)
    assert [event["done"] for event in events] == [5, 6]
    assert weights(resumed.model) == weights(short.model)
    assert resumed.statistics["resumed_from_step"] == 4
    for name in ("loss_curve", "final_loss", "tokens"):
        assert resumed.statistics[name] == short.statistics[name]
    assert not list(tmp_path.glob("checkpoint*"))


def test_a_finished_run_is_returned_and_another_request_is_run(data, short):
    events: list[dict] = []
    again = run(request(data, display_name="renamed"), short.model, events)
    assert (again, events) == (short, [])


def test_checkpoints_go_where_they_are_told_and_belong_to_one_request(data, tmp_path):
    kept = {"checkpoint_every": 1, "checkpoint_dir": str(tmp_path / "kept")}

    def stop(event):
        if event["done"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backend.tune(request(data, options=kept), str(tmp_path / "a"), stop)
    assert len(list((tmp_path / "kept").iterdir())) == 1
    other = run(request(data, options=kept, seed=9), tmp_path / "b")
    assert other.statistics["resumed_from_step"] == 0
    same = run(request(data, options=kept), tmp_path / "c")
    assert same.statistics["resumed_from_step"] == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate_multiplier": 1e30}, "not a number at step"),
        ({"learning_rate_multiplier": 2000.0}, "training did not help"),
        ({"options": {"max_tokens": 5}}, "rows with more than 5 tokens, the longest"),
    ],
)
def test_a_run_that_fails_is_no_success(data, tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        run(request(data, **changes), tmp_path)
    assert not (tmp_path / "tuning.json").exists()


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"lora_rnak": 8}, "lora_rnak"),
        ({"lora_rank": 0}, "lora_rank"),
        ({"lora_rank": 1.5}, "lora_rank"),
        ({"lora_rank": True}, "lora_rank"),
        ({"merge": "yes"}, "merge"),
        ({"tuning_mode": "prefix"}, "tuning_mode"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"packing": True}, "packing"),
        ({"processes": 2}, "processes"),
    ],
)
def test_a_wrong_option_is_named(data, tmp_path, options, where):
    with pytest.raises(UsageError) as caught:
        run(request(data, options=options), tmp_path)
    assert caught.value.where == where


def test_whole_numbers_may_come_as_floats(data, short, tmp_path):
    found = run(request(data, options={"checkpoint_every": 2.0}), tmp_path)
    assert weights(found.model) == weights(short.model)


def test_a_file_that_is_not_there_is_named(data, tmp_path):
    with pytest.raises(UsageError) as caught:
        run(request((str(tmp_path / "no.jsonl"), "")), tmp_path)
    assert caught.value.where == str(tmp_path / "no.jsonl")


def test_rows_without_a_held_out_set_train_too(data, tmp_path):
    found = run(request((data[0], "")), tmp_path)
    assert found.statistics["final_loss"] < found.statistics["untrained_loss"]


def test_the_curve_has_every_evaluation_between_its_reports(data, tmp_path, monkeypatch):
    monkeypatch.setattr(tiny_model, "_REPORTS", 2)
    asked = request(data, train_steps=6, batch_size=8, options={"evaluate_every": 2})
    curve = run(asked, tmp_path).statistics["loss_curve"]
    assert [(step, evaluation is not None) for step, _, evaluation in curve] == [
        (0, True), (2, True), (3, False), (4, True), (6, True),
    ]  # fmt: skip


def test_nothing_is_printed(data, tmp_path, capfd):
    found = run(request(data, train_steps=2), tmp_path)
    prompts, _ = asked(data[1])
    list(backend.predict(found.model, prompts[:2], max_output_tokens=2))
    assert capfd.readouterr() == ("", "")


def test_the_callers_process_gets_its_settings_back(data, short, tmp_path):
    kernels, threads = getLogger("bitsandbytes"), torch.get_num_threads()

    def settings():
        bars = logging.is_progress_bar_enabled()
        return logging.get_verbosity(), bars, torch.get_num_threads(), kernels.level

    logging.set_verbosity_info()
    logging.enable_progress_bar()
    torch.set_num_threads(threads + 2)
    before = settings()
    try:
        run(request(data, train_steps=2, options={"threads": 1}), tmp_path)
        assert settings() == before
        prompts, _ = asked(data[1])
        answers = backend.predict(short.model, prompts[:3], max_output_tokens=1, batch_size=1)
        next(answers)
        during = settings()
        answers.close()
        assert (during[:2], settings()) == ((logging.ERROR, False), before)
        backend.check(short.model, {"threads": 1})
        assert settings() == before
    finally:
        torch.set_num_threads(threads)


def test_cancelling_a_local_run_is_no_error():
    assert backend.cancel("whatever") is None
