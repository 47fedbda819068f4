"""The public API as a type checker sees it: checked by mypy and pyright, never run."""

from collections.abc import Iterator, Mapping
from random import Random
from time import monotonic
from typing import Any, assert_type

from balancers import (
    Balancer,
    Delta,
    Endpoint,
    Explanation,
    HealthState,
    Key,
    NoEligibleEndpointError,
    NoEndpointError,
    Observer,
    Outcome,
    Pick,
    Reason,
    RoundRobin,
    Snapshot,
)

# -- endpoints ---------------------------------------------------------------------------------

plain = Endpoint("a")
full = Endpoint(
    "b",
    weight=2,
    region="eu",
    zone="eu-1",
    priority=1,
    hash_key="b-0",
    metadata={"port": 80},
)
assert_type(full.id, str)
assert_type(full.weight, float)
assert_type(full.zone, str | None)
assert_type(full.priority, int)
assert_type(full.hash_key, str)
assert_type(full.metadata, Mapping[str, Any])

# -- balancers ---------------------------------------------------------------------------------


class Watcher(Observer):
    """Tells of settlements alone; the rest is inherited."""

    def on_settle(self, pick: Pick, outcome: Outcome, latency: float | None) -> None:
        if latency is not None and outcome is Outcome.SUCCESS:
            print(pick.endpoint.id, latency * 1e3)


def classify(error: BaseException) -> Outcome:
    """Judge by the type of the error."""
    return Outcome.FAILURE if isinstance(error, OSError) else Outcome.CANCELLED


def addresses() -> Iterator[Endpoint]:
    """Yield endpoints: any iterable is a membership."""
    yield plain
    yield full


balancer = RoundRobin(
    addresses(),
    phase=0,
    clock=monotonic,
    rng=Random(1),
    observer=Watcher(),
    classify=classify,
    panic_threshold=0.3,
)
RoundRobin(["a", Endpoint("b")])
anyone: Balancer = balancer
assert_type(balancer.endpoints, tuple[Endpoint, ...])

# -- picks -------------------------------------------------------------------------------------

with balancer.pick() as pick:
    assert_type(pick, Pick)
    assert_type(pick.endpoint, Endpoint)
    assert_type(pick.reason, Reason)
    assert_type(pick.affinity, str | None)
    pick.responded()

key: Key
for key in ("user", b"user", 17):
    lease = anyone.pick(key, exclude={"b"}, cost=2.5)
    assert_type(lease.done(Outcome.FAILURE, latency=0.1, load=0.7, retry_after=3), bool)


def swallowed() -> str:
    """A ``with`` block of a lease swallows nothing: what follows it needs no return."""
    with balancer.pick() as pick:
        return pick.endpoint.id


def soonest() -> float | None:
    """Return what the error says of when to come back."""
    try:
        balancer.pick(exclude=["a", "b"]).done()
    except NoEligibleEndpointError as error:
        return error.retry_after
    except NoEndpointError:
        return None
    return 0.0


# -- what a balancer tells ---------------------------------------------------------------------

assert_type(anyone.update(["a", Endpoint("c")]), Delta)
assert_type(anyone.update(["a"]).added, tuple[str, ...])

snapshot = anyone.snapshot()
assert_type(snapshot, Snapshot)
assert_type(snapshot.to_json(), str)
for view in snapshot.endpoints:
    assert_type(view.in_flight, int)
    assert_type(view.load, float)
    assert_type(view.state, HealthState)
    assert_type(view.latency, float | None)

explanation = anyone.explain("user", exclude=["b"])
assert_type(explanation, Explanation)
assert_type(explanation.chosen, Endpoint | None)
assert_type(explanation.considered, tuple[Endpoint, ...])
assert_type(explanation.skipped, dict[str, str])

unsubscribe = anyone.changed(lambda: print("news"))
assert_type(unsubscribe(), None)
anyone.close()
