"""compiled/ is what the sources say, byte for byte, both ways."""

from pathlib import Path

import pytest

from tunepipe import components
from tunepipe.catalog.backends import BACKENDS
from tunepipe.runs.compile import differences, render, write_all
from tunepipe.runs.pipeline_spec import containers, read

COMPILED = Path(__file__).parents[2] / "compiled"


@pytest.fixture(scope="module")
def texts():
    return render()


def test_compiled_is_current(texts):
    assert differences(COMPILED, texts) == [], "run `make compile`"


def test_every_component_and_every_pipeline_is_there(texts):
    assert set(texts) == {
        *(f"components/{verb}.yaml" for verb in components.__all__),
        "pipelines/validate_shards.yaml",
        *(f"pipelines/tune_{backend.replace('-', '_')}.yaml" for backend in BACKENDS),
    }


def test_a_second_compile_gives_the_same_bytes(texts):
    assert render() == texts


def test_what_is_missing_stale_or_an_orphan_is_named_and_mended(tmp_path, texts):
    few = dict(list(texts.items())[:2])
    first, second = few
    assert write_all(tmp_path, texts) == sorted(texts)
    (tmp_path / first).write_text("stale")
    (tmp_path / second).unlink()
    orphan = tmp_path / "components" / "orphan.yaml"
    orphan.write_bytes(b"# PIPELINE DEFINITION\n# of a component that is gone \xff")
    assert differences(tmp_path, texts) == sorted([first, second, "components/orphan.yaml"])
    write_all(tmp_path, texts)
    assert differences(tmp_path, texts) == []
    assert not orphan.exists()


def test_what_somebody_wrote_by_hand_is_named_and_not_removed(tmp_path, texts):
    """`compile --folder .` in a project that has other YAML files."""
    write_all(tmp_path, texts)
    theirs = [tmp_path / name for name in ("pipelines/settings.yaml", "charts/values.yaml")]
    for file in theirs:
        file.parent.mkdir(exist_ok=True)
        file.write_text("replicas: 3\n")
    assert write_all(tmp_path, texts) == []
    assert differences(tmp_path, texts) == ["pipelines/settings.yaml"]
    assert [file.read_text() for file in theirs] == ["replicas: 3\n"] * 2
    last = tmp_path / max(texts)
    last.write_text("stale")
    assert write_all(tmp_path, texts) == [max(texts)]
    assert last.read_text() == texts[max(texts)]


def test_on_an_image_that_has_the_packages_a_step_installs_nothing(texts):
    image = "europe-docker.pkg.dev/project/images/tunepipe@sha256:" + "0" * 64
    for path, text in render(image).items():
        for container in containers(read(text)):
            assert container["image"] == image
            assert "pip install" not in " ".join(container["command"]), path
        assert text.splitlines()[:2] == texts[path].splitlines()[:2]


def test_no_path_and_no_user_of_this_machine_is_in_a_compiled_file(texts):
    for text in texts.values():
        assert str(Path.home()) not in text
        assert str(COMPILED.parent) not in text


def test_the_steps_of_the_local_backend_ask_a_cluster_for_accelerators_as_kfp_writes_it():
    from kfp import dsl

    from tunepipe.components import evaluate_model
    from tunepipe.runs.compile import compiled_text, pipeline_text
    from tunepipe.runs.pipeline_spec import add_accelerators, read

    @dsl.pipeline(name="p")
    def by_kfp(model: dsl.Input[dsl.Model], eval: dsl.Input[dsl.Dataset]):
        task = evaluate_model(model=model, eval=eval)
        task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(2)

    (wanted,) = read(compiled_text(by_kfp))["deploymentSpec"]["executors"].values()
    spec = read(pipeline_text("local"))
    add_accelerators(spec, "nvidia.com/gpu:2")
    asking = {
        name: executor["container"]["resources"]
        for name, executor in spec["deploymentSpec"]["executors"].items()
        if "accelerator" in executor["container"].get("resources", {})
    }
    assert asking == dict.fromkeys(
        ("exec-evaluate-model", "exec-tune-local"), wanted["container"]["resources"]
    )
    # A step whose GPU torch cannot use ends; on the CPU it would hold the GPU for days.
    uses = [{"name": "TUNEPIPE_DEVICE", "value": "cuda"}]
    executors = spec["deploymentSpec"]["executors"]
    assert {name for name in executors if executors[name]["container"].get("env") == uses} == {
        *asking
    }


def test_an_accelerator_that_is_no_gpu_sets_no_device():
    from tunepipe.runs.compile import pipeline_text
    from tunepipe.runs.pipeline_spec import add_accelerators, read

    spec = read(pipeline_text("local"))
    add_accelerators(spec, "google.com/tpu:4")
    assert not any(
        "env" in each["container"] for each in spec["deploymentSpec"]["executors"].values()
    )


@pytest.mark.parametrize("accelerator", ["gpu:1", "nvidia.com/gpu", "nvidia.com/gpu:0", "L4:1"])
def test_what_no_cluster_offers_is_refused(accelerator):
    from tunepipe.errors import UsageError
    from tunepipe.runs.compile import pipeline_text
    from tunepipe.runs.pipeline_spec import add_accelerators

    with pytest.raises(UsageError, match="names no resource"):
        add_accelerators(read(pipeline_text("local")), accelerator)
