"""Somebody else's pipeline, in an environment without tunepipe: our YAML files are all it has.

    python foreign_pipeline.py COMPILED_COMPONENTS DATASET FOLDER

Run by test_foreign.py. The environment has the packages that the steps would install, and no pip.
"""

import sys
from pathlib import Path

import yaml
from kfp import components, dsl, local


def load(name: str):
    """Load a component and drop its installing, which this environment has done already."""
    spec = yaml.safe_load((Path(sys.argv[1]) / f"{name}.yaml").read_text(encoding="utf-8"))
    for executor in spec["deploymentSpec"]["executors"].values():
        command = executor["container"]["command"]
        assert "pip install" in command[2], "every step brings its own packages"
        executor["container"]["command"] = command[3:]
    return components.load_component_from_text(yaml.safe_dump(spec))


VERBS = sorted(path.stem for path in Path(sys.argv[1]).glob("*.yaml"))
ours = {verb: load(verb) for verb in VERBS}


def steps(dataset: str, registry: str):
    names = {"registry": registry, "run_id": "theirs"}
    found = ours["fingerprint_dataset"](dataset_uri=dataset)
    checked = ours["validate_jsonl"](
        dataset_uri=dataset, fingerprint=found.outputs["fingerprint"], model="tiny"
    )
    split = ours["split_dataset"](
        dataset_uri=dataset, format=checked.outputs["format"], model="tiny"
    )
    plan = ours["compute_train_steps"](
        rows=split.outputs["train_rows"], backend="local", train_steps=30
    )
    tuned = ours["tune_local"](
        train=split.outputs["train"],
        eval=split.outputs["eval"],
        train_steps=plan.outputs["train_steps"],
        batch_size=plan.outputs["batch_size"],
    )
    champion = ours["lookup_champion"](registry=registry)
    asked = ours["evaluate_model"](
        model=tuned.outputs["model"],
        base=tuned.outputs["base"],
        champion=champion.outputs["model"],
        eval=split.outputs["eval"],
        max_output_tokens=8,
    )
    answers = {
        "tuned": asked.outputs["predictions"],
        "base": asked.outputs["base_predictions"],
        "champion": asked.outputs["champion_predictions"],
    }
    compared = ours["compare_models"](**answers)
    comparison = compared.outputs["comparison"]
    ours["write_report"](comparison=comparison, **answers, **names)
    with dsl.If(compared.outputs["Output"] == "better"):
        ours["promote_model"](model=tuned.outputs["model"], comparison=comparison, **names)


@dsl.pipeline(name="somebody-elses")
def theirs(dataset: str, registry: str, notify: str):
    told = ours["send_notice"](notify=notify, registry=registry, run_id="theirs")
    with dsl.ExitHandler(told):
        steps(dataset, registry)


if __name__ == "__main__":
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=f"{sys.argv[3]}/steps")
    theirs(
        dataset=sys.argv[2],
        registry=f"{sys.argv[3]}/registry",
        notify=f"{sys.argv[3]}/webhook",
    )
    print("USED", *VERBS)
