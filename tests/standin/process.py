"""Starting the stand-in from a test, and talking to its admin address."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

_REPOSITORY = Path(__file__).parents[2]
_LOCATION = re.compile(r"/locations/([^/]+)")
_HOST = re.compile(r"(?:([a-z0-9-]+)-)?aiplatform\.(?:([a-z]+)\.rep\.)?googleapis\.com\Z")


class StandIn:
    """A running stand-in: `environment` leads the real clients to it, `buckets` is its storage."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.standin", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_REPOSITORY,
            text=True,
        )
        assert self._process.stdout
        self.environment: dict[str, str] = json.loads(self._process.stdout.readline())
        self.admin = self.environment["STANDIN_ADMIN"]
        self.folder, self.buckets = folder, Path(self.environment["STANDIN_BUCKETS"])

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """GET without a body, POST with one."""
        data = None if body is None else json.dumps(body).encode()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(urllib.request.Request(f"{self.admin}/{path}", data)) as answer:
            return json.load(answer)

    def fault(self, method: str, **fault: Any) -> None:
        """Make trouble for the next calls of a method; see cloud.Fault."""
        self.ask("faults", {"method": method, **fault})

    def calls(self, method: str = "") -> list[dict[str, Any]]:
        """The calls seen so far, of one method or of all."""
        return [call for call in self.ask("calls") if method in ("", call["method"])]

    def places(self) -> set[str]:
        """The locations that calls went to, and those of the resources that they were about.

        Storage, usage, roles and the template's registry have one address for all regions.
        """
        seen = self.calls()
        told = [_LOCATION.search(call["resource"]) for call in seen]
        hosts = [_HOST.match(call["host"]) for call in seen]
        return {match[1] for match in told if match} | {
            match[1] or match[2] or "global" for match in hosts if match
        }

    def reset(self) -> None:
        self.ask("reset", {})

    def log(self) -> str:
        """What the jobs' processes printed."""
        return "\n".join(file.read_text() for file in self.folder.glob("jobs/*/log.txt"))

    def stop(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(60)
