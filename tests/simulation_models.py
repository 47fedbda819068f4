"""Server models that only tests know; the engine has never heard of them."""

from heapq import heappop, heappush

from balancers import Outcome


class SharingServer:
    """Processor sharing: everybody present gets an equal part; a model whose ends can move.

    ``_done`` is the work each request present since the start would have got by now.
    """

    def __init__(self, stage):
        self.picks = 0
        self.busy = 0.0
        self._stage = stage
        self._present = []  # heap of (work level at which it ends, ticket)
        self._done = 0.0
        self._seen = 0.0
        self._version = 0

    def serve(self, now, demand, key, ticket):
        self._advance(now)
        heappush(self._present, (self._done + demand, ticket))
        self.picks += 1
        self.busy += demand
        self._plan(now)

    def _advance(self, now):
        if self._present:
            self._done += (now - self._seen) / len(self._present)
        self._seen = now

    def _plan(self, now):
        self._version += 1
        version = self._version
        if self._present:
            wait = max(0.0, self._present[0][0] - self._done) * len(self._present)
            self._stage.at(now + wait, lambda at: self._wake(at, version))

    def _wake(self, now, version):
        if version != self._version:
            return  # an arrival since then has moved the end
        self._advance(now)
        self._done = max(self._done, self._present[0][0])
        _, ticket = heappop(self._present)
        self._stage.complete(ticket, Outcome.SUCCESS)
        self._plan(now)


def sharing(endpoint, stage):
    """Put a sharing server of speed 1 behind an endpoint."""
    return SharingServer(stage)
