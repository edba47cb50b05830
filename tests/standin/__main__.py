"""A loopback Google Cloud for tests and for `make demo-vertex`.

    python -m tests.standin FOLDER

prints one line of JSON when it is ready: the environment that leads the real clients here, among
it STANDIN_ADMIN, and goes on until its standard input ends. FOLDER keeps buckets/ (each folder
below it is a bucket), jobs/ (what each job's process said) and the certificates.
"""

from __future__ import annotations

import atexit
import json
import sys
import threading
from pathlib import Path

from . import rest, rpc
from .admin import Admin
from .certificates import write_certificates
from .cloud import Cloud
from .custom_jobs import CustomJobs
from .jobs import Jobs
from .proxy import Proxy
from .resources import Resources
from .schedules import Schedules
from .surface import read_surface
from .templates import Templates
from .tuning_board import Board
from .tunings import Tunings


def start(folder: Path) -> dict[str, str]:
    """Start everything in threads of this process; returns the environment to use."""
    (folder / "buckets").mkdir(parents=True, exist_ok=True)
    cloud = Cloud(folder.resolve())
    paths = write_certificates(folder.resolve())
    templates, surface = Templates(cloud), read_surface()
    resources = Resources(cloud)
    jobs = Jobs(cloud, templates, resources)
    schedules, board = Schedules(cloud, jobs, resources), Board(cloud)
    tunings = Tunings(cloud, resources, board)
    custom_jobs = CustomJobs(cloud)
    atexit.register(custom_jobs.stop)
    atexit.register(jobs.stop)  # their processes are groups of their own and would go on
    for service in (jobs, custom_jobs, resources, schedules, board):
        cloud.add_service(service)
    web = rest.serve(
        rest.Rest(cloud, surface, templates, tunings).answer, paths["certificate"], paths["key"]
    )
    cloud.server, grpc_port = rpc.serve(cloud, surface, paths["certificate"], paths["key"])
    proxy = Proxy(web.server_address[1], grpc_port)
    cloud.drop_connections = proxy.drop_connections
    admin = rest.serve(
        Admin(cloud, jobs, custom_jobs, resources, schedules, tunings, proxy).answer, None, None
    )
    for server in (web, admin):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{proxy.port}"
    cloud.environment = {
        **dict.fromkeys(("HTTPS_PROXY", "https_proxy"), address),
        **dict.fromkeys(("NO_PROXY", "no_proxy"), "localhost,127.0.0.1"),
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(paths["ca"]),
        "REQUESTS_CA_BUNDLE": str(paths["ca"]),
        "SSL_CERT_FILE": str(paths["ca"]),
        "GOOGLE_APPLICATION_CREDENTIALS": str(paths["account"]),
        "GOOGLE_CLOUD_PROJECT": "demo-project",
        "NO_GCE_CHECK": "true",
        "TUNEPIPE_ALLOW_PRIVATE_ADDRESSES": "1",  # webhooks of tests are on this machine
        "STANDIN_ADMIN": f"http://127.0.0.1:{admin.server_address[1]}",
        "STANDIN_BUCKETS": str(cloud.buckets),
    }
    return dict(cloud.environment)


def main() -> None:
    print(json.dumps(start(Path(sys.argv[1]))), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
