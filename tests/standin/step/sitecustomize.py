"""In a step of the stand-in: a folder of its own stands for /gcs, where gcsfuse would mount."""

import os

if os.environ.get("_KFP_RUNTIME") == "true":
    from kfp.dsl.types import artifact_types

    artifact_types._GCS_LOCAL_MOUNT_PREFIX = os.environ["STANDIN_BUCKETS"] + "/"
