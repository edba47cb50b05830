"""A view of a run that keeps what it is to show."""

from tunepipe.runs.status import View


class Recorder(View):
    """Keeps what it is to show."""

    def __init__(self):
        self.events = []

    def began(self, step):
        self.events.append(step)

    def ended(self, step, succeeded):
        self.events.append((step, succeeded))

    def progress(self, event):
        self.events.append(event)

    def close(self):
        self.events.append("closed")
