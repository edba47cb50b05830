"""What a training is started with and what it reports, without a training."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from tests.backends.local.models import write_rows
from tunepipe.backends.base import TuningRequest, TuningResult
from tunepipe.backends.local import backend, launching, trainer
from tunepipe.backends.local.options import LocalOptions
from tunepipe.backends.local.rows import TokenRow, encode
from tunepipe.backends.local.tiny_model import learn_tokenizer
from tunepipe.backends.local.training import TrainingOutcome, TrainingTask, require_number
from tunepipe.data.conversations import Example
from tunepipe.errors import DataError, TunepipeError

SETTLED = LocalOptions(
    micro_batch_size=2, learning_rate=1e-3, evaluate_every=30, checkpoint_every=40
)


def task(options: LocalOptions = SETTLED, steps: int = 310, **fields: object) -> TrainingTask:
    request = TuningRequest("org/model", "t", "e", train_steps=steps, batch_size=24, seed=5)
    return TrainingTask(request, options, "out", "0123456789abcdef0123", **fields)


def test_a_trainer_gets_these_arguments_and_no_others():
    arguments = trainer._arguments(task(processes=3))
    assert arguments == {
        "output_dir": "out/checkpoints-0123456789abcdef",
        "max_steps": 310,
        "per_device_train_batch_size": 2,
        "per_device_eval_batch_size": 2,
        "gradient_accumulation_steps": 4,
        "learning_rate": 1e-3,
        "weight_decay": 0.0,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 16,
        "seed": 5,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "use_liger_kernel": False,
        "train_sampling_strategy": "sequential",
        "max_length": None,
        "eval_strategy": "steps",
        "eval_steps": 30,
        "save_strategy": "steps",
        "save_steps": 40,
        "save_total_limit": 1,
        "restore_callback_states_from_checkpoint": True,
        "logging_steps": 3,
        "logging_nan_inf_filter": False,
        "dataloader_pin_memory": False,
        "disable_tqdm": True,
        "report_to": "none",
    }


STOPPING = {
    "save_steps": 30, "save_total_limit": 2, "load_best_model_at_end": True,
    "metric_for_best_model": "eval_loss",
}  # fmt: skip
ON_A_GPU = {
    "use_cpu": False, "dataloader_pin_memory": True,
    "use_liger_kernel": importlib.util.find_spec("liger_kernel") is not None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "differences"),
    [
        (task(replace(SETTLED, early_stopping=1)), STOPPING),
        (task(replace(SETTLED, tuning_mode="full")), {"weight_decay": 0.01}),
        (task(replace(SETTLED, precision="bfloat16")), {"bf16": True}),
        (task(replace(SETTLED, gradient_checkpointing=True)), {"gradient_checkpointing": True}),
        (task(device="cuda:1"), ON_A_GPU),
        (task(steps=9), {"max_steps": 9, "warmup_steps": 0, "logging_steps": 1}),
        (task(replace(SETTLED, checkpoint_dir="kept")),
         {"output_dir": "kept/checkpoints-0123456789abcdef"}),
    ],
)  # fmt: skip
def test_what_an_option_changes_of_a_trainers_arguments(changed, differences):
    assert trainer._arguments(changed) == trainer._arguments(task()) | differences


@pytest.mark.parametrize(
    ("steps", "options", "settled"),
    [
        (310, LocalOptions(), (2e-4, 31, 31)),
        (9, LocalOptions(), (2e-4, 1, 1)),
        (310, SETTLED, (1e-3, 30, 40)),
    ],
)
def test_what_is_left_open_is_settled(steps, options, settled):
    found = task(options, steps).settle(2e-4)
    assert (found.learning_rate, found.evaluate_every, found.checkpoint_every) == settled


def test_a_curve_has_a_row_for_each_step_with_a_loss():
    log = [
        {"step": 4, "loss": 2.0},
        {"step": 0, "eval_loss": 3.0},
        {"step": 4, "eval_loss": 1.5, "seconds": 9.0},
        {"step": 5, "seconds": 11.0},
        {"step": 5, "eval_loss": 1.25},
        {"step": 6, "train_runtime": 1.0},
    ]
    assert trainer._curve(log) == [[0, None, 3.0], [4, 2.0, 1.5], [5, None, 1.25]]


CURVE = [[0, None, 3.0], [2, 2.5, None], [4, 2.0, 1.5], [5, None, 2.0]]


@pytest.mark.parametrize(("keeps_best", "final"), [(False, 2.0), (True, 1.5)])
def test_what_a_training_measured(keeps_best, final):
    outcome = TrainingOutcome(CURVE, 5, 2, 1000, 8.126, keeps_best)
    assert outcome.statistics() == {
        "loss_curve": CURVE, "train_steps": 5, "resumed_from_step": 2, "tokens": 1000,
        "seconds": 8.13, "tokens_per_second": 123, "untrained_loss": 3.0, "final_loss": final,
        "best_step": 4,
    }  # fmt: skip


@pytest.mark.parametrize("final", [3.0, 3.5, math.inf])
def test_a_training_that_does_not_help_is_refused(final):
    with pytest.raises(DataError, match=f"was 3 before and is {final:.4g} after 5 steps"):
        TrainingOutcome([[0, None, 3.0], [5, None, final]], 5, 0, 10, 0.0).statistics()


@pytest.mark.parametrize(
    ("step", "found"), [(0, "before training is not"), (1, "is not a number at step 1")]
)
def test_a_loss_that_is_not_a_number_is_refused(step, found):
    assert require_number(0.5, step) == 0.5
    for loss in (math.nan, math.inf):
        with pytest.raises(DataError, match=found):
            require_number(loss, step)


MACHINES = {
    "PET_NNODES": "2", "PET_NODE_RANK": "1", "PET_MASTER_ADDR": "n0", "PET_MASTER_PORT": "2222",
}  # fmt: skip


@pytest.mark.parametrize(
    ("environment", "arguments", "flags"),
    [
        ({}, (1, ""), "1 1 0 no no 0"),
        ({}, (2, ""), "2 1 0 no no 0 --multi_gpu"),
        ({}, (2, "a.yaml"), "2 1 0 no no 0 --config_file a.yaml"),
        (MACHINES, (1, ""), "2 2 1 no no 2222 --main_process_ip n0 --multi_gpu"),
    ],
)
def test_the_command_that_starts_the_processes(monkeypatch, environment, arguments, flags):
    for name in ("CLUSTER_SPEC", *MACHINES):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    names = ["--num_processes", "--num_machines", "--machine_rank", "--mixed_precision",
             "--dynamo_backend", "--main_process_port"]  # fmt: skip
    values = flags.split()
    started = [part for pair in zip(names, values[:6], strict=True) for part in pair]
    module = ["-m", "tunepipe.backends.local.launching"]
    program = f"from tunepipe.backends.local.launching import launch; launch({os.getpid()})"
    launch = [sys.executable, "-c", program, *started, *values[6:], *module]
    assert launching.launch_command(*arguments) == launch


@pytest.mark.parametrize(
    ("environment", "device", "expected"),
    [
        ({}, "cpu", ("1", "1", "127.0.0.1", "true")),
        ({"OMP_NUM_THREADS": "4"}, "cuda", ("4", "1", "127.0.0.1", None)),
        (MACHINES, "cpu", ("1", None, None, "true")),
    ],
)
def test_the_environment_of_the_processes(monkeypatch, environment, device, expected):
    names = ("OMP_NUM_THREADS", "PET_STANDALONE", "PET_LOCAL_ADDR", "ACCELERATE_USE_CPU")
    for name in (*names, "CLUSTER_SPEC", *MACHINES):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = launching._environment(2, device)
    assert tuple(map(found.get, names)) == expected
    assert found.items() >= environment.items()
    assert str(Path(launching.__file__).parents[3]) in found["PYTHONPATH"].split(os.pathsep)


@pytest.mark.parametrize(
    ("visible", "processes", "device", "expected"),
    [
        (None, 1, "cuda", "0"),
        (None, 1, "cuda:3", "3"),
        ("2,3", 1, "cuda", "2"),
        ("2,3", 1, "cuda:1", "3"),
        ("GPU-a,GPU-b", 1, "cuda:1", "GPU-b"),
        ("2,3", 2, "cuda", "2,3"),
        ("2,3", 1, "cpu", "2,3"),
        (None, 2, "cuda", None),
        (None, 1, "cpu", None),
    ],
)
def test_one_process_sees_one_gpu(monkeypatch, visible, processes, device, expected):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert launching._environment(processes, device).get("CUDA_VISIBLE_DEVICES") == expected


PROGRAM = """
import json, os, sys
for event in json.loads(sys.argv[1]):
    print(json.dumps(event), flush=True)
print(sys.argv[2], file=sys.stderr)
sys.exit(int(sys.argv[3]))
"""
FAILED = "a process of the training failed: "
TRACE = "Traceback\n ValueError: no rows \nin a line\nChildFailedError: rank 1"


def follow(*events: object, log: str = "", code: int = 0) -> tuple[object, list[object]]:
    seen: list[object] = []
    command = [sys.executable, "-c", PROGRAM, json.dumps(events), log, str(code)]
    return launching._follow(command, dict(os.environ), seen.append), seen


def test_the_events_of_the_processes_are_passed_on_and_the_result_returned():
    events = [{"done": 1}, {"done": 2}, {"result": {"loss": 1.0}}]
    assert follow(*events, log="Error: a warning") == ({"loss": 1.0}, events[:2])


@pytest.mark.parametrize(
    ("events", "log", "code", "found"),
    [
        ([{"done": 1}], TRACE, 1, f"{FAILED}ValueError: no rows"),
        ([], "KeyError: 1\nValueError: 2\n", 1, f"{FAILED}ValueError: 2"),
        ([], "rank 0\n exitcode : -9\nChildFailedError: x", 1, f"{FAILED}exitcode : -9"),
        ([], "exitcode : 1\nSignal 9 (SIGKILL)\nend", 1, f"{FAILED}Signal 9 (SIGKILL)"),
        ([], "it went well", 3, f"{FAILED}it ended with code 3"),
        ([], "", 0, f"{FAILED}it ended with code 0"),
        ([{"result": {"loss": 1.0}}], "RuntimeError: late", 1, f"{FAILED}RuntimeError: late"),
    ],
)
def test_why_a_process_failed_is_said(monkeypatch, events, log, code, found):
    for name in ("CLUSTER_SPEC", *MACHINES):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(TunepipeError) as caught:
        follow(*events, log=log, code=code)
    assert (type(caught.value), caught.value.found) == (TunepipeError, found)
    assert caught.value.where == "processes"


def test_an_error_of_a_process_is_raised_here():
    about = {"where": "train_steps", "fix": "more"}
    event = {"error": "DataError", "found": ["it did not help"], "about": about}
    with pytest.raises(DataError) as caught:
        follow({"done": 1}, event)
    assert (caught.value.found, caught.value.where) == ("it did not help", "train_steps")
    assert caught.value.fix == "more"


def test_a_machine_that_is_not_the_first_measures_nothing(monkeypatch):
    monkeypatch.delenv("CLUSTER_SPEC", raising=False)
    for name, value in MACHINES.items():
        monkeypatch.setenv(name, value)
    assert follow() == ({}, [])
    with pytest.raises(TunepipeError, match="it ended with code 2"):
        follow(code=2)


def test_progress_tells_the_time_that_is_left(monkeypatch):
    clock, events = [100.0], []
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    watch = trainer._Clock(events.append)
    log = [{"step": 1}, {"seconds": 5.0}, {"seconds": 7.0}]
    state = SimpleNamespace(
        log_history=log,
        global_step=2,
        max_steps=10,
        is_world_process_zero=True,
        best_global_step=None,
    )
    arguments = SimpleNamespace(output_dir="out")
    watch.on_train_begin(arguments, state, None)
    assert watch.seconds == 7.0  # of the attempt before
    clock[0] = 103.0
    watch.on_log(None, state, None, {"epoch": 1.0})
    assert (events, watch.seconds) == ([], 7.0)
    watch.on_log(None, state, None, {"loss": 2.0, "grad_norm": 1.0})
    assert events == [{"done": 2, "total": 10, "seconds_left": 40, "loss": 2.0}]
    assert (watch.seconds, log[-1]["seconds"]) == (10.0, 10.0)
    for change in ({"global_step": 0}, {"is_world_process_zero": False}):
        watch.on_log(None, SimpleNamespace(**vars(state) | change), None, {"eval_loss": 1.0})
    assert len(events) == 1
    with pytest.raises(DataError, match="not a number at step 2"):
        watch.on_log(None, state, None, {"eval_loss": math.nan})
    begun = SimpleNamespace(log_history=[{"step": 1}], best_global_step=None)
    watch.on_train_begin(arguments, begun, None)
    assert watch.seconds == 0.0


@pytest.mark.parametrize(("step", "is_last"), [(9, False), (10, True)])
def test_the_last_step_is_evaluated_and_logged(step, is_last):
    control = SimpleNamespace(should_evaluate=False, should_log=False)
    state = SimpleNamespace(global_step=step, max_steps=10)
    trainer._Clock(print).on_step_end(None, state, control)
    assert (control.should_evaluate, control.should_log) == (is_last, is_last)


def test_no_loss_is_taken_of_a_prompt():
    rows = [TokenRow([1, 2], [3, 4], []), TokenRow([5], [6], [])]
    assert trainer._columns(rows).to_dict() == {
        "input_ids": [[1, 2, 3, 4], [5, 6]], "labels": [[-100, -100, 3, 4], [-100, 6]],
    }  # fmt: skip
    assert trainer._columns([TokenRow([1], [2], [3])]).to_dict() == {
        "prompt_ids": [[1]], "chosen_ids": [[2]], "rejected_ids": [[3]],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sums", "loss"), [([[3.0, 1.0], [1.0, 3.0]], 1.0), ([[6.0, 2.0], [0.0, 0.0]], 3.0)]
)
def test_the_evaluation_loss_is_the_mean_over_the_tokens(sums, loss):
    found = trainer._mean_over_tokens(SimpleNamespace(predictions=np.array(sums)))
    assert found == {"loss": loss}
    nothing = SimpleNamespace(predictions=np.zeros((1, 2)))
    assert math.isnan(trainer._mean_over_tokens(nothing)["loss"])


@pytest.mark.parametrize(
    ("batch_size", "processes", "most", "rows"),
    [(12, 1, 12, 12), (12, 1, 5, 4), (12, 2, 5, 3), (7, 1, 6, 1), (12, 1, 0, 1), (12, 3, 4, 4)],
)
def test_the_most_rows_at_once_divide_a_step(batch_size, processes, most, rows):
    assert trainer.micro_batch_size(batch_size, processes, most) == rows


def test_a_parameter_of_another_kind_counts_as_it_is_trained():
    weights = [torch.zeros(2, 3), torch.zeros(4)]
    plain = SimpleNamespace(parameters=lambda: iter(weights))
    assert backend.parameter_counts(plain) == {"parameters": 10, "trained_parameters": 10}
    adapted = SimpleNamespace(get_nb_trainable_parameters=lambda: (3, 10))
    assert backend.parameter_counts(adapted) == {"parameters": 10, "trained_parameters": 3}


def test_a_folder_is_named_by_its_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base").mkdir()
    names = {"tiny": "", "": "", "org/model": "org/model", "base": str(tmp_path / "base")}
    assert {name: backend._absolute(name) for name in names} == names


def test_a_result_of_the_tiny_model_names_its_untrained_self(tmp_path):
    for base, named in (("", str(tmp_path / "base")), ("org/model", "org/model")):
        found = backend._result(tmp_path, {"base_model": base, "final_loss": 1.0})
        statistics = {"base_model": named, "final_loss": 1.0}
        assert found == TuningResult(str(tmp_path), statistics=statistics, cost_usd=0.0, base=named)


@pytest.mark.parametrize("weights", [(0, 1), (1, 0)])
def test_an_answer_that_is_not_to_be_learnt_is_refused(tmp_path, weights):
    """A row is learnt for its last answer alone, so only the weight of that one counts."""
    said = [{"role": "assistant", "content": f"a{n}", "weight": n} for n in weights]
    asked = {"role": "user", "content": "q"}
    rows = [{"messages": [asked, said[0], asked, said[1]]}, {"messages": [asked, said[1]]}]
    request = TuningRequest("org/model", write_rows(tmp_path / "t.jsonl", rows), "", 1, 1)
    learnt = TrainingTask(request, SETTLED, "out", "0")
    if weights[-1]:
        assert [row.reference for row in learnt.read_rows()[0]] == ["a1", "a1"]
        return
    with pytest.raises(DataError, match="which is learnt, has the weight 0 in 2 rows"):
        learnt.read_rows()


TURNS = ({"role": "user", "content": "question 1"},)


@pytest.mark.parametrize(("most", "fits"), [(0, True), (-1, False)])
def test_a_row_has_at_most_so_many_tokens(most, fits):
    short = Example(1, TURNS, "answer 1")
    long = Example(2, TURNS, "answer 1", rejected="an answer that is turned down")
    learnt = learn_tokenizer([short])
    rows = encode(learnt, [short, long], 1000)
    assert (rows[0].rejected, rows[0].prompt) == ([], rows[1].prompt)
    assert rows[0].completion == rows[1].completion
    longest = len(rows[1])
    assert longest > len(rows[0])
    if fits:
        assert encode(learnt, [short, long], longest + most) == rows
        return
    with pytest.raises(DataError) as caught:
        encode(learnt, [short, long], longest + most)
    assert caught.value.found == (
        f"1 of 2 rows with more than {longest + most} tokens, the longest {longest}"
    )


@pytest.mark.parametrize("is_four_bit", [False, True])
def test_trained_values_are_kept_precise_over_weights_in_four_bits_alone(is_four_bit):
    """What is not kept is not copied either: a full tuning would take twice the memory."""
    model = torch.nn.Linear(2, 1)
    model.bias.requires_grad = False
    model.is_loaded_in_4bit = is_four_bit
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, 0.1)
    with trainer._precise_adapters(model):
        for parameter in model.parameters():
            parameter.data = parameter.data.bfloat16()
    values = {name: value.view(-1)[0].item() for name, value in model.named_parameters()}
    precise, coarse = pytest.approx(0.1, rel=1e-7), 0.10009765625
    assert values == {"weight": precise if is_four_bit else coarse, "bias": coarse}
