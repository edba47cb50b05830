"""A checkpoint that is not whole is set aside by name, and the one before it is taken."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tunepipe.backends.local.trainer import last_checkpoint


def write(folder: Path, step: int) -> Path:
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    save_file({"w": torch.ones(64)}, checkpoint / "adapter_model.safetensors")
    (checkpoint / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return checkpoint


DAMAGES = {
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-10]),
    "empty": lambda file: file.write_bytes(b""),
    "foreign": lambda file: file.write_bytes(b"<!DOCTYPE html>" * 20),
    "of another step": lambda file: (file.parent / "trainer_state.json").write_text(
        '{"global_step": 3}'
    ),
    "with half a state": lambda file: (file.parent / "trainer_state.json").write_text("{"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_set_aside(tmp_path: Path, capsys, damage: str) -> None:
    whole, broken = write(tmp_path, 20), write(tmp_path, 100)
    assert last_checkpoint(tmp_path) == str(broken)
    DAMAGES[damage](broken / "adapter_model.safetensors")
    assert last_checkpoint(tmp_path) == str(whole)
    assert not broken.exists()
    assert (tmp_path / "damaged-checkpoint-100").is_dir()
    assert "damaged-checkpoint-100" in capsys.readouterr().err


def test_one_that_was_not_written_to_its_end_is_passed_over(tmp_path: Path) -> None:
    whole = write(tmp_path, 20)
    (write(tmp_path, 100) / "trainer_state.json").unlink()
    assert last_checkpoint(tmp_path) == str(whole)
    assert last_checkpoint(tmp_path / "none") == ""
