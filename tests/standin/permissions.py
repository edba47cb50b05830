"""Which right each call takes, as IAM's reference of permissions has it.

A test sets the fact `granted` to the rights of a role; then every other call is refused as Google
refuses it. Storage is not in it: rights in a bucket are bound to the bucket.
"""

from __future__ import annotations

from google.api_core import exceptions

PERMISSIONS = {
    "CancelPipelineJob": "aiplatform.pipelineJobs.cancel",
    "CancelTuningJob": "aiplatform.tuningJobs.cancel",
    "CreateDataset": "aiplatform.datasets.create",
    "CreatePipelineJob": "aiplatform.pipelineJobs.create",
    "CreateSchedule": "aiplatform.schedules.create",
    "CreateTuningJob": "aiplatform.tuningJobs.create",
    "DeleteEndpoint": "aiplatform.endpoints.delete",
    "DeleteSchedule": "aiplatform.schedules.delete",
    "GenerateContent": "aiplatform.endpoints.predict",
    "GetContext": "aiplatform.contexts.get",
    "GetEndpoint": "aiplatform.endpoints.get",
    "GetModel": "aiplatform.models.get",
    "GetPipelineJob": "aiplatform.pipelineJobs.get",
    "GetProject": "resourcemanager.projects.get",
    "GetPublisherModel": "aiplatform.publisherModels.get",
    "GetSchedule": "aiplatform.schedules.get",
    "GetTuningJob": "aiplatform.tuningJobs.get",
    "ImportModelEvaluation": "aiplatform.modelEvaluations.import",
    "ListContexts": "aiplatform.contexts.list",
    "ListEndpoints": "aiplatform.endpoints.list",
    "ListModelEvaluations": "aiplatform.modelEvaluations.list",
    "ListPipelineJobs": "aiplatform.pipelineJobs.list",
    "ListSchedules": "aiplatform.schedules.list",
    "ListTensorboardTimeSeries": "aiplatform.tensorboardTimeSeries.list",
    "ListTuningJobs": "aiplatform.tuningJobs.list",
    "MergeVersionAliases": "aiplatform.models.update",
    "PauseSchedule": "aiplatform.schedules.update",
    "Predict": "aiplatform.endpoints.predict",
    "ReadTensorboardTimeSeriesData": "aiplatform.tensorboardTimeSeries.read",
    "ResumeSchedule": "aiplatform.schedules.update",
    "UndeployModel": "aiplatform.endpoints.undeploy",
    "UpdateSchedule": "aiplatform.schedules.update",
    "governance.policy": "resourcemanager.projects.getIamPolicy",
    "governance.quota": "serviceusage.quotas.get",
    "governance.services": "serviceusage.services.list",
}
# Everyone may ask what they may do, and fetch a public template.
_OPEN = ("governance.account", "governance.rights", "governance.secret", "template.get", "token")


def check(method: str, resource: str, granted: list[str] | None) -> None:
    """Refuse a call whose right is not granted, or whose right is not known here.

    Raises:
        PermissionDenied: As Google says it.
    """
    if granted is None or method in _OPEN or method.startswith("storage."):
        return
    permission = PERMISSIONS.get(method, f"the right of {method}, which permissions.py lacks")
    if permission not in granted:
        raise exceptions.PermissionDenied(
            f"Permission '{permission}' denied on resource '//{resource}' (or it may not exist)."
        )
