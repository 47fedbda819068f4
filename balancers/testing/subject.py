"""What the contract suite is told of the balancer it holds to the contract."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any, TypeAlias, TypedDict

from balancers.core.lease import Pick
from balancers.endpoint import Endpoint
from balancers.protocol import Balancer, Snapshot
from balancers.testing.doubles import ManualClock

__all__ = [
    "BAD_COSTS",
    "Factory",
    "Subject",
    "Traits",
    "heard",
    "in_flight",
    "pick_id",
    "quiet",
    "self_check",
    "view_of",
]

Factory: TypeAlias = Callable[..., Balancer]
"""Called with endpoints and any of ``clock``, ``rng``, ``observer``, ``classify``: a class, a
``functools.partial`` of one, or a function."""

KEYS: tuple[Any, ...] = (
    *(f"user-{i}" for i in range(40)),
    *(b"\x00blob-%d" % i for i in range(20)),
    *(i * i - 50 for i in range(20)),
    "",
    "\ud800",
    "žluťoučký kůň",
    -(1 << 70),
)
BAD_KEYS: tuple[Any, ...] = (True, False, 1.5, ["k"], object())
BAD_COSTS: tuple[Any, ...] = (
    *(0, 0.0, -1, -0.5, float("nan"), float("inf"), float("-inf"), 10**400),
    *(False, "2", None, [1.0]),
)


class Traits(TypedDict, total=False):
    """What may be said of a balancer beside its factory; every check takes all of it.

    Attributes:
        keyed: The key decides the choice. Default: the factory's own ``keyed``, else False.
        keys: Keys it takes, at least 20 of them if it is keyed. Default: text, bytes and
            integers. ``(None,)`` where a key is a session, which may stay at weight 0.
        bad_keys: Keys it must refuse with a TypeError. Default: booleans, floats, lists, objects.
        weights: Positive weights to try; ``(1.0,)`` where unequal ones are refused.
        foretells: ``explain().chosen`` is who the next pick gets. Default: True.
        fair: Ties are random or rotating, so that equal endpoints get equal shares. Default:
            True unless keyed.
        orderless: Placement is independent of the order given. Default: True.
        minimal: When an endpoint leaves, only its own keys move. Default: True.
        examples: Random runs of the accounting machine. Default: 40.
        steps: Steps of each run. Default: 30.
        threads: Threads of the conservation check. Default: 4.
        cycles: Picks of each of them. Default: 2,000.
        updates: Membership changes meanwhile. Default: 50.
        seed: Of everything random. Default: 1.
    """

    keyed: bool
    keys: Sequence[Any]
    bad_keys: Sequence[Any]
    weights: Sequence[float]
    foretells: bool
    fair: bool
    orderless: bool
    minimal: bool
    examples: int
    steps: int
    threads: int
    cycles: int
    updates: int
    seed: int


class Subject:
    """A factory and its traits, with the defaults filled in; see ``Traits``."""

    def __init__(self, factory: Factory, traits: Traits) -> None:
        unknown = sorted(traits.keys() - Traits.__annotations__.keys())
        if unknown:
            raise TypeError(f"unknown trait(s) {', '.join(unknown)}; see balancers.testing.Traits")
        self.factory = factory
        self.name: str = getattr(factory, "__name__", None) or repr(factory)
        self.keyed: bool = traits.get("keyed", bool(getattr(factory, "keyed", False)))
        self.keys: tuple[Any, ...] = tuple(traits.get("keys", KEYS))
        self.bad_keys: tuple[Any, ...] = tuple(traits.get("bad_keys", BAD_KEYS))
        self.weights: tuple[float, ...] = tuple(traits.get("weights", (1.0, 2.0, 0.5, 3.0)))
        self.foretells: bool = traits.get("foretells", True)
        self.fair: bool = traits.get("fair", not self.keyed)
        self.orderless: bool = traits.get("orderless", True)
        self.minimal: bool = traits.get("minimal", True)
        self.examples: int = traits.get("examples", 40)
        self.steps: int = traits.get("steps", 30)
        self.threads: int = traits.get("threads", 4)
        self.cycles: int = traits.get("cycles", 2_000)
        self.updates: int = traits.get("updates", 50)
        self.seed: int = traits.get("seed", 1)

    def build(
        self,
        endpoints: Iterable[Endpoint | str],
        *,
        rng: Random | None = None,
        clock: ManualClock | None = None,
        **options: Any,
    ) -> Balancer:
        """Return a balancer with a seeded rng and a clock of its own, unless given."""
        return self.factory(
            endpoints,
            rng=Random(self.seed) if rng is None else rng,
            clock=ManualClock(1_000.0) if clock is None else clock,
            **options,
        )

    def members(self, ids: str, weight: float | None = None) -> list[Endpoint]:
        """Return one endpoint a letter, of the given weight or of the traits' in turn."""
        weights = self.weights if weight is None else (weight,)
        return [Endpoint(name, weight=weights[i % len(weights)]) for i, name in enumerate(ids)]

    def key(self, i: int) -> Any:
        """Return the i-th key, going round."""
        return self.keys[i % len(self.keys)]

    def fail(self, message: str) -> AssertionError:
        """Return the error that says what the balancer did wrong."""
        return AssertionError(f"{self.name}: {message}")

    def require(self, held: object, message: str) -> None:
        """Raise ``AssertionError`` unless ``held``."""
        if not held:
            raise self.fail(message)

    @contextmanager
    def raises(self, kinds: Collection[type[BaseException]], doing: str) -> Iterator[None]:
        """Fail unless the block raises one of ``kinds``."""
        names = " or ".join(kind.__name__ for kind in kinds)
        try:
            yield
        except tuple(kinds):
            return
        except Exception as error:
            raise self.fail(f"{doing} raised {error!r} instead of {names}") from error
        raise self.fail(f"{doing} raised nothing; the contract says {names}")


def in_flight(balancer: Balancer) -> dict[str, int]:
    """Return the open leases of each member."""
    return {view.endpoint.id: view.in_flight for view in balancer.snapshot().endpoints}


def view_of(snapshot: Snapshot, name: str) -> Any:
    """Return the view of one endpoint."""
    return next(view for view in snapshot.endpoints if view.endpoint.id == name)


def self_check(balancer: Balancer) -> None:
    """Run the checks of invariants that the balancer and its ledger have of their own."""
    for owner in (balancer, getattr(balancer, "_ledger", None)):
        check = getattr(owner, "_check", None)
        if check is not None:
            check()


def pick_id(balancer: Balancer, **arguments: Any) -> str:
    """Pick, settle at once, and return the id."""
    pick: Pick = balancer.pick(**arguments)
    pick.done()
    return pick.endpoint.id


@contextmanager
def quiet() -> Iterator[None]:
    """Keep errors that the contract has contained, and logged, off the screen."""
    log = logging.getLogger("balancers")
    before = log.disabled
    log.disabled = True
    try:
        yield
    finally:
        log.disabled = before


@contextmanager
def heard() -> Iterator[list[warnings.WarningMessage]]:
    """Collect every warning of the block instead of showing it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught
