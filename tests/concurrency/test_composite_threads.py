"""Trees under threads, updates and health changes at once: sound, and empty, in the end."""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from balancers import (
    Adaptive,
    Admin,
    Endpoint,
    HealthPolicy,
    HealthRegistry,
    LeastConnections,
    LeastResponseTime,
    Limit,
    NoEligibleEndpointError,
    NoEndpointError,
    Outcome,
    PeakEwma,
    Priority,
    Reason,
    Regions,
    RingHash,
    RoundRobin,
    Sticky,
    Subset,
    ZoneAware,
)
from balancers.compose import LocalFirst, StrictPriority

NOBODY = (NoEligibleEndpointError, NoEndpointError)


@pytest.fixture(autouse=True)
def _often() -> Iterator[None]:
    """Threads take turns often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def bounded(endpoints: Any) -> RingHash:
    """Return a ring with a bound on load."""
    return RingHash(endpoints, load_factor=1.25)


TREES: dict[str, Callable[..., Any]] = {
    "regions of tiers of zones": lambda e, **o: Regions(
        e,
        policy=lambda e: Priority(
            e, policy=lambda e: ZoneAware(e, policy=PeakEwma, local_zone="a", callers={"b": 1})
        ),
        locate=lambda key: key[:2],
        **o,
    ),
    "sessions over limits": lambda e, **o: Sticky(
        e,
        policy=lambda e: Limit(e, policy=LeastConnections, per_endpoint=2, total=9),
        mode="table",
        max_sessions=20,
        load_factor=1.5,
        failback="return",
        **o,
    ),
    "limits over limits": lambda e, **o: Limit(
        e,
        policy=lambda e: Priority(e, policy=lambda e: Limit(e, policy=RoundRobin, per_endpoint=2)),
        total=12,
        queue=3,
        **o,
    ),
    "tiers of apertures over a bounded ring": lambda e, **o: StrictPriority(
        e,
        policy=lambda e: Subset(
            e, policy=bounded, method="aperture", seed=1, clients=3, size=4
        ),
        **o,
    ),
    "local first over Adaptive": lambda e, **o: LocalFirst(
        e, policy=Adaptive, local_zone="a", overload=1.0, **o
    ),
}  # fmt: skip


def fleet() -> list[Endpoint]:
    """Return 16 endpoints in two regions, zones and tiers."""
    return [
        Endpoint(f"e{i}", region=("eu", "us")[i % 2], zone="ab"[i // 2 % 2], priority=i // 4 % 2)
        for i in range(16)
    ]


@pytest.mark.parametrize("name", TREES)
def test_trees_under_threads(name: str):
    """Picks, settlements, updates, probes, orders and listeners that pick: nothing breaks."""
    registry = HealthRegistry(HealthPolicy(consecutive_failures=3, sequential=False))
    balancer = TREES[name](fleet(), health=registry)
    errors: list[BaseException] = []
    stop = threading.Event()

    def listener() -> None:
        try:
            balancer.pick("eu-listener").done()
        except NOBODY:
            pass
        except BaseException as error:
            errors.append(error)

    balancer.changed(listener)

    def work(index: int) -> None:
        chance, held = Random(index), []
        try:
            for step in range(120):
                key = chance.choice((None, f"eu-{step % 20}", f"us-{step % 20}"))
                with contextlib.suppress(*NOBODY):
                    held.append(balancer.pick(key, exclude=("e3",) if step % 9 == 0 else ()))
                if step % 40 == 0:
                    balancer.explain(key)
                while len(held) > chance.randrange(5):
                    held.pop().done(Outcome.FAILURE if step % 8 == 0 else Outcome.SUCCESS)
        except BaseException as error:
            errors.append(error)
        finally:
            for pick in held:
                pick.done()

    def operate() -> None:
        chance = Random(99)
        try:
            while not stop.wait(0.001):
                balancer.update(chance.sample(fleet(), chance.randint(0, 16)))
                some = f"e{chance.randrange(16)}"
                registry.record_probe(some, chance.random() < 0.6)
                registry.set_admin(some, chance.choice((Admin.ENABLED, Admin.DRAINING)))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(3)]
    operator = threading.Thread(target=operate, daemon=True)
    for thread in (operator, *threads):
        thread.start()
    for thread in threads:
        thread.join(60)
    stop.set()
    operator.join(60)

    assert not errors, errors
    assert not any(thread.is_alive() for thread in (operator, *threads))
    balancer.update(fleet())
    assert all((v.in_flight, v.load) == (0, 0.0) for v in balancer.snapshot().endpoints)
    balancer._check()
    balancer._ledger._check()


class Late:
    """A lock before which the membership is emptied."""

    def __init__(self, balancer: Any) -> None:
        self.balancer = balancer
        self.real = balancer._lock

    def acquire(self, *options: Any) -> Any:
        if self.balancer._lock is self:
            self.balancer._lock = self.real
            self.balancer.update([])
        return self.real.acquire(*options)

    def __enter__(self) -> None:
        self.acquire()

    def release(self) -> None:
        self.real.release()

    def __exit__(self, *_: object) -> None:
        self.release()


@pytest.mark.parametrize("policy", [LeastConnections, Adaptive, LeastResponseTime])
@pytest.mark.parametrize("warm", [0, 300])
def test_a_membership_emptied_before_the_lock(policy: Any, warm: int):
    """A pick that waits for the lock of an update to nobody finds nobody, and says so."""
    balancer = policy(["a", "b"])
    for _ in range(warm):
        balancer.pick().done(latency=0.1)
    balancer._lock = Late(balancer)
    with pytest.raises(NoEndpointError):
        balancer.pick()


def test_an_explanation_may_be_an_update_behind():
    """One that walks a ring while its members are replaced answers for those it set out with."""
    balancer = RingHash(["a", "b"], load_factor=1.25)
    view = balancer._view
    balancer.update(["c"])
    found = balancer._trace(view, "key", (), Reason.NORMAL, Random(1))[0]
    assert found is not None
    assert found.endpoint.id in ("a", "b")
