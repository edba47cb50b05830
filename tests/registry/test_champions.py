"""The champion and its moves."""

import json
from pathlib import Path

import pytest

from tunepipe.errors import UsageError
from tunepipe.registry import champions as registry

MOVE = {
    "run": "r1",
    "verdict": "better",
    "reason": "it is",
    "moved_at": "2026-11-22T00:00:00+00:00",
    "moved_by": "ana",
}


def model_folder(path, weights: str):
    path.mkdir()
    (path / "model.safetensors").write_text(weights)
    return str(path)


def test_there_is_no_champion_before_the_first_move(tmp_path):
    assert registry.champion(str(tmp_path)) is None
    assert registry.champion("") is None


def test_a_promoted_model_is_kept_when_its_run_is_thrown_away(tmp_path):
    place = str(tmp_path / "registry")
    model = model_folder(tmp_path / "model", "1")
    move = registry.promote(place, model, **MOVE)
    (tmp_path / "model" / "model.safetensors").unlink()
    assert registry.champion(place) == move
    kept = tmp_path / "registry" / "models" / "000001" / "model.safetensors"
    assert kept.read_text() == "1"
    assert move.model == str(kept.parent)


def test_moves_are_recorded_one_file_each(tmp_path):
    for number in range(3):
        registry.promote(str(tmp_path), f"projects/p/models/{number}", **MOVE)
    records = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("moves/*.json"))]
    assert [record["model"] for record in records] == [f"projects/p/models/{n}" for n in range(3)]
    assert registry.champion(str(tmp_path)).version == 3


def test_of_two_promotions_at_once_one_wins(tmp_path):
    registry.promote(str(tmp_path), "a", **MOVE)
    (tmp_path / "champion.json").unlink()  # the second promotion read before the first wrote
    with pytest.raises(UsageError):
        registry.promote(str(tmp_path), "b", **MOVE)
    assert json.loads((tmp_path / "moves" / "000001.json").read_text())["model"] == "a"


def test_a_promotion_that_was_broken_off_is_brought_to_its_end(tmp_path):
    place, model = str(tmp_path / "registry"), model_folder(tmp_path / "model", "1")
    first = registry.promote(place, model, **MOVE)
    (tmp_path / "registry" / "champion.json").unlink()
    with pytest.raises(UsageError, match="broken off") as caught:
        registry.promote(place, model, **MOVE | {"run": "r2"})
    assert caught.value.fix.endswith("tunepipe promote r1 --reason TEXT")
    assert registry.promote(place, model, **MOVE | {"moved_at": "later"}) == first
    assert registry.promote(place, model, **MOVE | {"run": "r2"}).version == 2


def test_or_begun_anew_where_nothing_was_recorded(tmp_path):
    place = tmp_path / "registry"
    for text in ("1", "2"):
        registry.promote(str(place), model_folder(tmp_path / text, text), **MOVE)
        (place / "champion.json").unlink()
        (place / "moves" / "000001.json").unlink()
    move = registry.promote(str(place), str(tmp_path / "2"), **MOVE)
    assert (Path(move.model) / "model.safetensors").read_text() == "2"


def test_without_a_registry_nothing_is_promoted(tmp_path):
    with pytest.raises(UsageError, match="no registry"):
        registry.promote("", "model", **MOVE)
