"""The message about a run's end: the verdict, its reasons, and links."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote, urlsplit

# They refuse a message with fields that they do not know, and read <…> as a mention or a link.
# Slack decodes the three escapes (docs.slack.dev, "Formatting message text"); Chat has none.
_CHATS = {
    "hooks.slack.com": str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"}),
    "chat.googleapis.com": str.maketrans({"<": "‹", ">": "›"}),
}
_RUN = re.compile(r"projects/([^/]+)/locations/([^/]+)/pipelineJobs/(.+)\Z")
_REASON_CHARACTERS = 600


@dataclass(frozen=True)
class Notice:
    """A run's end.

    Args:
        state: succeeded, failed or cancelled.
        verdict: better, worse or not-enough-evidence; "" if there is none.
        reason: Why, in a sentence; of a failed run, what went wrong.
        champion: What became of the champion, in a sentence; "" if nothing is recorded.
        page: The run's page; "" locally.
        report: The report's address; "" if there is none.
    """

    run: str
    state: str
    verdict: str = ""
    reason: str = ""
    champion: str = ""
    page: str = ""
    report: str = ""

    @property
    def text(self) -> str:
        """The notice as people read it."""
        head = f"tunepipe run {self.run}: {self.verdict or self.state}"
        why = " ".join(filter(None, [self.reason[:_REASON_CHARACTERS], self.champion]))
        links = {"run": self.page, "report": browsable(self.report)}
        places = [f"{name}: {link}" for name, link in links.items() if link]
        return "\n".join(filter(None, [head, why, *places]))

    def message(self, address: str) -> dict[str, Any]:
        """Write what is sent: text alone to a chat, and every fact by its name to anything else."""
        host = urlsplit(address).hostname or ""
        if host not in _CHATS:
            return {"text": self.text, **asdict(self)}
        return {"text": self.text.translate(_CHATS[host])}


def run_page(name: str) -> str:
    """Return the page in Google's console of `projects/P/locations/R/pipelineJobs/RUN`, or ""."""
    match = _RUN.match(name)
    if not match:
        return ""
    project, region, run = match.groups()
    return (
        f"https://console.cloud.google.com/vertex-ai/locations/{region}/pipelines/runs/{run}"
        f"?project={project}"
    )


def browsable(uri: str) -> str:
    """Turn a gs:// URI into the address that a browser opens, for who may read it."""
    if not uri.startswith("gs://"):
        return uri
    return f"https://storage.cloud.google.com/{quote(uri.removeprefix('gs://'))}"
