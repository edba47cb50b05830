"""The address by which tests ask for faults and read what was called. Plain HTTP and JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from google.api_core import exceptions

from .cloud import Cloud, Fault
from .custom_jobs import CustomJobs
from .jobs import Jobs
from .proxy import Proxy
from .resources import Resources
from .schedules import Schedules
from .storage import Reply
from .tunings import Tunings


@dataclass
class Admin:
    """Verbs of the admin address: GET /calls, POST /faults, and so on."""

    cloud: Cloud
    jobs: Jobs
    custom_jobs: CustomJobs
    resources: Resources
    schedules: Schedules
    tunings: Tunings
    proxy: Proxy

    def answer(self, verb: str, target: str, headers: Any, body: bytes) -> Reply:
        path = urlsplit(target).path.strip("/")
        given = json.loads(body or b"{}")
        handle = getattr(self, f"{verb.lower()}_{path}", None)
        if handle is None:
            raise exceptions.NotFound(f"no {verb} /{path}")
        return Reply(json.dumps(handle(given)).encode(), headers={"Content-Type": "text/json"})

    def get_calls(self, _: Any) -> Any:
        return self.cloud.calls_as_json()

    def get_begun(self, _: Any) -> Any:
        return self.cloud.begun

    def get_resources(self, _: Any) -> Any:
        return sorted(self.cloud.resources)

    def get_states(self, _: Any) -> Any:
        return self.jobs.states()

    def get_custom_jobs(self, _: Any) -> Any:
        return self.custom_jobs.states()

    def post_preempt(self, _: Any) -> Any:
        return {"preempted": self.custom_jobs.preempt()}

    def get_tunings(self, _: Any) -> Any:
        return self.tunings.jobs()

    def post_tuning(self, given: dict[str, Any]) -> Any:
        self.tunings.put(given)
        return {}

    def post_forget(self, given: dict[str, str]) -> Any:
        del self.cloud.resources[given["name"]]
        return {}

    def get_mismatches(self, _: Any) -> Any:
        return self.cloud.mismatches

    def get_tokens(self, _: Any) -> Any:
        return self.cloud.tokens

    def get_refused(self, _: Any) -> Any:
        return self.proxy.refused

    def post_faults(self, given: dict[str, Any]) -> Any:
        with self.cloud.lock:
            self.cloud.faults.append(Fault(**given))
        return {}

    def post_release(self, _: Any) -> Any:
        self.cloud.release()
        return {}

    def post_hold(self, given: dict[str, Any]) -> Any:
        """Keep new jobs, or with `paid` those alone that tune, in their first state."""
        pipelines = self.jobs.hold_templates if given.get("paid") else self.jobs.hold
        for hold in (pipelines, self.custom_jobs.hold, self.tunings.hold):
            (hold.set if given["on"] else hold.clear)()
        return {}

    def post_install(self, given: dict[str, Any]) -> Any:
        """Have the steps install their code, instead of running on what is installed here."""
        (self.jobs.install.set if given["on"] else self.jobs.install.clear)()
        return {}

    def post_instant(self, given: dict[str, Any]) -> Any:
        for service in (self.jobs, self.custom_jobs):
            (service.instant.set if given["on"] else service.instant.clear)()
        return {}

    def post_facts(self, given: dict[str, Any]) -> Any:
        self.cloud.facts.update(given)
        return {}

    def post_tick(self, given: dict[str, Any]) -> Any:
        return {"started": self.schedules.tick(given["seconds"])}

    def post_reset(self, _: Any) -> Any:
        self.cloud.reset()
        self.proxy.refused.clear()
        return {}

    def post_models(self, given: dict[str, str]) -> Any:
        return self.resources.upload(given)

    def post_endpoints(self, given: dict[str, str]) -> Any:
        return self.resources.deploy(given)
