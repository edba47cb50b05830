"""In a step of the stand-in: a folder of its own stands for /gcs, where gcsfuse would mount.

Where STANDIN_WARM_STEPS is set, a step runs in a process that has imported what steps use.
"""

import os
import sys

if "STANDIN_WARM_STEPS" in os.environ and "tunepipe.packaging.step" in sys.orig_argv:
    from warm_client import stand_for

    words = sys.orig_argv[sys.orig_argv.index("-m") + 1 :]
    stand_for(os.environ["STANDIN_WARM_STEPS"], words)

if os.environ.get("_KFP_RUNTIME") == "true" and "STANDIN_BUCKETS" in os.environ:
    from kfp.dsl.types import artifact_types

    artifact_types._GCS_LOCAL_MOUNT_PREFIX = os.environ["STANDIN_BUCKETS"] + "/"
