"""Accelerators as people write them, their price and their quota."""

import pytest

from tunepipe.catalog.accelerators import find_machine, machine_of, parameters_billion
from tunepipe.catalog.catalog import load_catalog
from tunepipe.errors import LimitError, UsageError

CATALOG = load_catalog()
L4 = CATALOG.accelerators.accelerators["NVIDIA_L4"]


@pytest.mark.parametrize(
    ("text", "accelerator", "count", "machine_type"),
    [
        *((text, "NVIDIA_L4", 1, "g2-standard-12") for text in ("NVIDIA_L4:1", "L4", "l4:1")),
        ("l4:2", "NVIDIA_L4", 2, "g2-standard-24"),
        ("H100", "NVIDIA_H100_80GB", 1, "a3-highgpu-1g"),
        ("H100:8", "NVIDIA_H100_80GB", 8, "a3-highgpu-8g"),
        ("a100-40gb", "NVIDIA_TESLA_A100", 1, "a2-highgpu-1g"),
        ("A100_80GB:4", "NVIDIA_A100_80GB", 4, "a2-ultragpu-4g"),
    ],
)
def test_the_machine_for_accelerators(text, accelerator, count, machine_type):
    machine = find_machine(text, CATALOG)
    assert machine.spec() == {
        "machine_type": machine_type,
        "accelerator_type": accelerator,
        "accelerator_count": count,
    }
    assert machine_of({"accelerator": text}, CATALOG) == machine


@pytest.mark.parametrize("name", ["T4", "L5", ""])
def test_an_accelerator_that_is_not_known_is_refused(name):
    with pytest.raises(UsageError, match=f"no accelerator '{name}' is in the table"):
        find_machine(name, CATALOG)


def test_no_machine_holds_three():
    with pytest.raises(LimitError) as caught:
        find_machine("L4:3", CATALOG)
    assert caught.value.found == "no machine holds 3 x NVIDIA_L4"
    assert caught.value.fix == "NVIDIA_L4 with :1, :2, :4, :8"


@pytest.mark.parametrize("number", ["0", "-1", "1.5", "x"])
def test_a_number_of_accelerators_that_cannot_be_is_wrong_usage(number):
    with pytest.raises(UsageError, match=f"no machine holds {number} x NVIDIA_L4"):
        find_machine(f"L4:{number}", CATALOG)


def test_what_a_machine_costs_and_the_quota_it_takes():
    machine = find_machine("L4:2", CATALOG)
    assert machine.usd_per_hour("us-central1") == 2 * L4.usd_per_hour["us-central1"]
    assert machine.usd_per_hour("nowhere") is None
    assert machine.quota({}) == (L4.quota, 2)
    assert machine.quota({"provisioning": "standard", "machines": 0}) == (L4.quota, 2)
    assert machine.quota({"provisioning": "spot", "machines": 3.0}) == (L4.spot_quota, 6)
    assert machine_of({}, CATALOG).spec()["accelerator_type"] == "NVIDIA_L4"


@pytest.mark.parametrize(
    ("name", "billion"),
    [
        ("Qwen/Qwen3-4B", 4.0), ("Qwen3-0.6B", 0.6), ("qwen3-30b-a3b", 30.0), ("llama_8b", 8.0),
        ("7B", 7.0), ("tiny", 0.0), ("x8bit", 0.0), ("v1.8b", 0.0),
    ],
)  # fmt: skip
def test_the_size_of_a_model_by_its_name(name, billion):
    assert parameters_billion(name) == billion
