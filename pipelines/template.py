"""Google's template as a part of the pipeline, in place of the step that launches it."""

from typing import Any

from tunepipe.components import prepare_template

_FROM_THE_CHECK = prepare_template.component_spec.outputs


def tune_by_template(template: Any, sha256: str, step: Any, **inputs: Any) -> Any:
    """Compose check, template and hand-over; the result has the ports of tune_large_model.

    Args:
        template: The template, loaded as a component.
        sha256: Of the template's bytes; it goes with the run.
        step: The package's components as steps that carry no code.
        inputs: What tune_large_model takes from other steps.

    Returns:
        The task whose outputs are model, base and tuning.
    """
    checked = step.prepare_template(template_sha256=sha256, **inputs)
    values = {
        "project": step.parameters["project"],
        "model_display_name": step.parameters["display_name"],
        "large_model_reference": step.parameters["base_model"],
        "train_steps": inputs["train_steps"],
        "learning_rate_multiplier": step.parameters["learning_rate_multiplier"],
        **{name: checked.outputs[name] for name in _FROM_THE_CHECK},
    }
    # The template's interface has changed under one tag: what this one lacks is not passed.
    declared = template.component_spec.inputs
    tuned = template(**{name: value for name, value in values.items() if name in declared})
    return step.keep_template_model(
        model_resource_name=tuned.outputs["model_resource_name"],
        endpoint_resource_name=tuned.outputs["endpoint_resource_name"],
        train_steps=inputs["train_steps"],
        template_sha256=sha256,
    )
