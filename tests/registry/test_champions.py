"""The champion and its moves."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier

import pytest

from tests.standin.session import BUCKET
from tunepipe.errors import UsageError
from tunepipe.registry import champions as registry
from tunepipe.registry import records

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
    assert Path(move.model).parent == tmp_path / "registry" / "models"
    assert Path(move.model, "model.safetensors").read_text() == "1"


def test_what_an_interrupted_promotion_left_stops_no_other(tmp_path):
    place, models = str(tmp_path / "registry"), tmp_path / "registry" / "models"
    models.mkdir(parents=True)
    model_folder(models / "000001", "half")  # by an earlier version
    move = registry.promote(place, model_folder(tmp_path / "model", "1"), **MOVE)
    assert move.model.startswith(f"{models}/000001-")
    assert Path(move.model, "model.safetensors").read_text() == "1"
    assert (models / "000001" / "model.safetensors").read_text() == "half"
    assert len(list(models.iterdir())) == 2


def test_moves_are_recorded_one_file_each(tmp_path):
    for number in range(3):
        registry.promote(str(tmp_path), f"projects/p/models/{number}", **MOVE)
    records = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("moves/*.json"))]
    assert [record["model"] for record in records] == [f"projects/p/models/{n}" for n in range(3)]
    assert registry.champion(str(tmp_path)).version == 3


@pytest.fixture(params=["path", "gs", "gs with retention"])
def place(request: pytest.FixtureRequest, tmp_path) -> str:
    if request.param == "path":
        return str(tmp_path / "registry")
    cloud = request.getfixturevalue("cloud")
    if request.param == "gs with retention":
        cloud.ask("facts", {"retention_seconds": 86400})
    return f"gs://{BUCKET}/registry"


def test_promotions_and_roll_backs_write_new_objects_only(place):
    """A bucket with a retention policy takes every one of them."""
    for number in (1, 2, 3):
        registry.promote(place, f"projects/p/models/{number}", **MOVE | {"run": f"r{number}"})
        records.record_outcome(place, f"r{number}", records.RunOutcome("better", "it is"))
        # A step's retry.
        records.record_outcome(place, f"r{number}", records.RunOutcome("better", "it is"))
    registry.promote(place, "projects/p/models/1", **MOVE | {"verdict": "", "reason": "back"})
    assert [move.version for move in registry.history(place)] == [1, 2, 3, 4]
    assert registry.champion(place).model == "projects/p/models/1"


def test_of_promotions_at_once_no_copy_mixes_two_models(tmp_path):
    place = str(tmp_path / "registry")
    folders = [model_folder(tmp_path / str(number), str(number)) for number in range(4)]
    for folder in folders:
        for name in map(str, range(500)):
            Path(folder, name).write_text(Path(folder).name)
    together = Barrier(4)

    def promote(folder):
        together.wait()
        with suppress(UsageError):  # another was quicker
            registry.promote(place, folder, **MOVE | {"run": Path(folder).name})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(promote, folders))
    for move in registry.history(place):
        files = list(Path(move.model).iterdir())
        assert {file.read_text() for file in files} == {move.run}
        assert len(files) == 501


def test_of_promotions_at_once_each_version_goes_to_one(place):
    def promote(number):
        with suppress(UsageError):
            return registry.promote(place, f"m{number}", **MOVE | {"run": f"r{number}"}).version
        return None

    with ThreadPoolExecutor(6) as pool:
        versions = [version for version in pool.map(promote, range(6)) if version]
    assert sorted(versions) == list(range(1, len(versions) + 1))
    assert [move.version for move in registry.history(place)] == sorted(versions)


def test_an_answer_that_was_lost_is_recognised_as_our_own(cloud):
    place = f"gs://{BUCKET}/registry"
    cloud.fault("storage.post", code=503, after=True, times=2)
    move = registry.promote(place, "m", **MOVE)
    assert registry.history(place) == [move]


def test_without_a_registry_nothing_is_promoted(tmp_path):
    assert registry.history("") == []
    with pytest.raises(UsageError, match="no registry"):
        registry.promote("", "model", **MOVE)


def test_a_folder_is_kept_in_a_registry_on_s3(s3, tmp_path):
    """The folder of a step on a cluster is gone when its pod is."""
    from tests.standin.s3 import BUCKET
    from tunepipe.registry import champions
    from tunepipe.stores.storage import local_folder

    (tmp_path / "model" / "deep").mkdir(parents=True)
    for name in ("weights.bin", "deep/config.json"):
        (tmp_path / "model" / name).write_text(name)
    registry = f"s3://{BUCKET}/registry"
    texts = {"run": "r", "verdict": "better", "reason": "", "moved_at": "", "moved_by": ""}
    move = champions.promote(registry, str(tmp_path / "model"), **texts)
    assert move.model.startswith(f"{registry}/models/000001-")
    assert champions.champion(registry) == move
    with local_folder(move.model) as folder:
        files = {p.relative_to(folder).as_posix(): p.read_text() for p in Path(folder).rglob("*.*")}
    assert files == {name: name for name in ("weights.bin", "deep/config.json")}


def test_an_outcome_is_a_file_that_a_later_version_reads(tmp_path):
    outcome = records.RunOutcome("better", "größer", "gs://b/report", "gs://b/model")
    records.record_outcome(str(tmp_path), "r1", outcome)
    assert records.read_outcome(f"{tmp_path}/", "r1") == outcome
    assert records.read_outcome(str(tmp_path), "r2") is None
    assert records.read_outcome("", "r1") is None
    written = (tmp_path / "outcomes" / "r1.json").read_text(encoding="utf-8")
    assert written == (
        '{\n "verdict": "better",\n "reason": "größer",\n "report": "gs://b/report",\n'
        ' "model": "gs://b/model"\n}'
    )
