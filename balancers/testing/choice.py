"""Checks of the choice itself: deterministic, explained, within bounds, fair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from random import Random
from typing import Any, Unpack

from balancers.core.lease import Pick
from balancers.endpoint import Endpoint
from balancers.errors import NoEligibleEndpointError
from balancers.protocol import Balancer, Outcome
from balancers.testing.binomial import FALSE_ALARM, binomial_range
from balancers.testing.doubles import ManualClock
from balancers.testing.subject import Factory, Subject, Traits, pick_id

__all__ = [
    "check_determinism",
    "check_exclude",
    "check_explain",
    "check_fair_ties",
    "check_zero_weight",
    "trace",
]


def trace(subject: Subject, seed: int, *, steps: int = 300, curious: bool = False) -> list[str]:
    """Run one long script of calls and return what each pick gave.

    Args:
        subject: The balancer to build.
        seed: Of the balancer's rng and of the script, which are independent.
        steps: Calls in the script.
        curious: Look at everything that must move nothing before each step.
    """
    script = Random(f"script {seed}")
    clock = ManualClock(1_000.0)
    ids = "abcdefgh"
    members = subject.members(ids)
    balancer = subject.build(members, rng=Random(seed), clock=clock)
    held: list[Pick] = []
    found: list[str] = []
    for step in range(steps):
        key = subject.key(script.randrange(len(subject.keys))) if script.random() < 0.8 else None
        excluded = frozenset(script.sample(ids, script.choice((0, 0, 0, 1, 2))))
        if curious:
            balancer.explain(key, exclude=excluded)
            balancer.explain()
            balancer.snapshot()
        kind = script.random()
        if kind < 0.6:
            cost = script.choice((1.0, 1.0, 2.5))
            try:
                pick = balancer.pick(key, exclude=excluded, cost=cost)
            except NoEligibleEndpointError:
                found.append(f"{step}: nobody")
                continue
            found.append(f"{step}: {pick.endpoint.id} {pick.reason.name}")
            held.append(pick)
        elif kind < 0.9 and held:
            pick = held.pop(script.randrange(len(held)))
            pick.done(script.choice(tuple(Outcome)), latency=script.choice((None, 0.0, 0.5)))
        elif kind < 0.95:
            clock.advance(script.choice((0.001, 1.0, 60.0)))
        else:
            members = [m for m in subject.members(ids) if script.random() < 0.8]
            script.shuffle(members)
            balancer.update(members or subject.members("a"))
    for pick in held:
        pick.done()
    return found


def check_determinism(factory: Factory, **traits: Unpack[Traits]) -> None:
    """The same seed, clock and calls give the same picks; looking on changes nothing."""
    subject = Subject(factory, traits)
    for seed in range(subject.seed, subject.seed + 3):
        first = trace(subject, seed)
        _same(subject, first, trace(subject, seed), "a second run with the same seed")
        curious = trace(subject, seed, curious=True)
        _same(subject, first, curious, "a run with explain() and snapshot() between the calls")


def _same(subject: Subject, first: list[str], other: list[str], what: str) -> None:
    for one, two in zip(first, other, strict=True):
        subject.require(one == two, f"{what} picked {two!r} at step {one!r}")


def check_explain(factory: Factory, **traits: Unpack[Traits]) -> None:
    """``explain`` names every member once, agrees with the next pick, and raises for nobody."""
    subject = Subject(factory, traits)
    drained = Endpoint("drained", weight=0.0)
    balancer = subject.build([*subject.members("abc"), drained])
    for i in range(60):
        key = subject.key(i) if i % 5 else None
        exclude = ("abc"[i % 3], "departed") if i % 2 else ()
        told = balancer.explain(key, exclude=exclude)
        names = [candidate.endpoint.id for candidate in told.candidates]
        everyone = sorted(names) == sorted(e.id for e in balancer.endpoints)
        subject.require(everyone, f"explain() lists {names}, not every member once")
        considered = {endpoint.id for endpoint in told.considered}
        expected = set("abc").difference(exclude)
        subject.require(
            considered <= expected, f"explain(exclude={exclude}) considered {sorted(considered)}"
        )
        subject.require(all(told.skipped.values()), "explain() skips somebody without saying why")
        subject.require(told.path, "explain() names no level it went through")
        chosen = told.chosen
        subject.require(
            chosen is not None and chosen.id in considered,
            f"explain(exclude={exclude}) chose {chosen} out of {sorted(considered)}",
        )
        pick = balancer.pick(key, exclude=exclude)
        if subject.foretells:
            subject.require(
                pick.endpoint == chosen,
                f"explain(exclude={exclude}) chose {chosen}, the pick got {pick.endpoint}",
            )
            subject.require(
                pick.reason is told.reason,
                f"explain says {told.reason!r}, the pick {pick.reason!r}",
            )
        pick.done()
    nobody = balancer.explain(exclude=list("abc")).chosen
    subject.require(nobody is None, f"explain(exclude=everybody) chose {nobody}")
    nobody = subject.build([]).explain().chosen
    subject.require(nobody is None, f"explain() of an empty membership chose {nobody}")


def check_exclude(factory: Factory, **traits: Unpack[Traits]) -> None:
    """``exclude`` is a hard constraint, in any collection type; departed ids do not count."""
    subject = Subject(factory, traits)
    ids = "abcdef"
    balancer = subject.build(subject.members(ids))
    chance = Random(subject.seed)
    kinds: tuple[Callable[[list[str]], Any], ...] = (set, list, tuple, frozenset, dict.fromkeys)
    for i in range(300):
        names = chance.sample(ids, chance.randrange(len(ids)))
        exclude = kinds[i % len(kinds)]([*names, "departed"])
        key = subject.key(i) if i % 4 else None
        found = pick_id(balancer, key=key, exclude=exclude)
        subject.require(found not in names, f"pick(exclude={exclude!r}) got {found!r}")
    for name in ids:
        others = set(ids) - {name}
        found = pick_id(balancer, key=subject.key(0), exclude=others)
        subject.require(found == name, f"only {name!r} was left by exclude; {found!r} was picked")
    with subject.raises([NoEligibleEndpointError], "pick(exclude=everybody)"):
        balancer.pick(subject.key(0), exclude=set(ids))
    balancer.update(["b", "c"])
    found = pick_id(balancer, key=subject.key(0), exclude={"a", "b"})
    subject.require(found == "c", f"exclude of a departed id and 'b' left 'c'; picked {found!r}")


def check_zero_weight(factory: Factory, **traits: Unpack[Traits]) -> None:
    """Weight 0 gets no new picks, keeps its open leases, and comes back when raised."""
    subject = Subject(factory, traits)
    weight = subject.weights[0]
    balancer = subject.build(subject.members("abc", weight))

    def shares(picks: int = 600) -> Counter[str]:
        return Counter(pick_id(balancer, key=subject.key(i)) for i in range(picks))

    leases = [balancer.pick(subject.key(i)) for i in range(30)]
    balancer.update([*subject.members("ac", weight), Endpoint("b", weight=0.0)])
    subject.require("b" not in shares(), "an endpoint of weight 0 was picked")
    for exclude in (["a"], ["c"]):
        found = pick_id(balancer, key=subject.key(1), exclude=exclude)
        subject.require(found != "b", "an endpoint of weight 0 was picked under exclude")
    with subject.raises([NoEligibleEndpointError], "pick() with only weight 0 left"):
        balancer.pick(subject.key(0), exclude=["a", "c"])
    for lease in leases:
        subject.require(lease.done(), "a lease on an endpoint of weight 0 was already settled")
    balancer.update(Endpoint(name, weight=0.0) for name in "abc")
    with subject.raises([NoEligibleEndpointError], "pick() of a drained set"):
        balancer.pick(subject.key(0))
    balancer.update(subject.members("abc", weight))
    missing = set("abc") - set(shares())
    subject.require(not missing, f"{sorted(missing)} got no pick after their weight was raised")


def check_fair_ties(factory: Factory, **traits: Unpack[Traits]) -> None:
    """Equal endpoints get equal shares, whatever their place in the list.

    From a frozen state (the first pick of many fresh balancers, idle or with the same calls
    behind them) and over serial pick/settle cycles of one balancer, the count of each endpoint
    is within what ``n`` fair draws would give, or nearer to even. False alarm: 1e-9 a check.
    """
    subject = Subject(factory, traits)
    if not subject.fair:
        return
    ids = "abcde"
    members = subject.members(ids, subject.weights[0])
    rng = Random(subject.seed)
    trials = 2_000

    def fresh(history: Callable[[Balancer], list[Pick]]) -> Counter[str]:
        counts: Counter[str] = Counter()
        for _ in range(trials):
            balancer = subject.build(members, rng=rng)
            held = history(balancer)
            counts[pick_id(balancer)] += 1
            for pick in held:
                pick.done()
        return counts

    def serial(seconds: float) -> Counter[str]:
        clock = ManualClock()
        balancer = subject.build(members, rng=rng, clock=clock)
        counts: Counter[str] = Counter()
        for _ in range(6 * trials):
            with balancer.pick() as pick:
                clock.advance(seconds)
            counts[pick.endpoint.id] += 1
        return counts

    for what, counts in (
        ("first picks of fresh balancers", fresh(lambda balancer: [])),
        ("picks beside three open leases", fresh(lambda b: [b.pick() for _ in range(3)])),
        ("picks after three settled ones", fresh(lambda b: [_settled(b) for _ in range(3)])),
        ("pick/settle cycles of no duration", serial(0.0)),
        ("pick/settle cycles of equal duration", serial(0.25)),
    ):
        chance = Fraction(1, len(ids))
        low, high = binomial_range(counts.total(), chance, FALSE_ALARM / (5 * len(ids)))
        for name in ids:
            subject.require(
                low <= counts[name] <= high,
                f"{what}: {name!r} got {counts[name]} of {counts.total()}, fair is "
                f"{low}..{high}; all: {dict(sorted(counts.items()))}",
            )


def _settled(balancer: Balancer) -> Pick:
    pick = balancer.pick()
    pick.done()
    return pick
