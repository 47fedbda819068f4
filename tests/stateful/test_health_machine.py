"""The health registry against a slow model that merges facts instead of walking a table."""

from random import Random

from health_models import CALM
from health_twin import Twin
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from balancers import Outcome
from balancers.health import Admin, HealthPolicy
from balancers.health.machine import Machine
from balancers.health.transitions import GUARDS, TABLE, rows

names = st.sampled_from("abcdef")
waits = st.sampled_from((1, 1, 2, 3, 5, 8, 20, 60))
asked = st.sampled_from((None, None, 1.0, 6.0, 50.0))
memberships = st.dictionaries(names, st.sampled_from((0.0, 1.0, 1.0, 2.0, 5.0)), max_size=6)


def policies() -> st.SearchStrategy[HealthPolicy]:
    """Policies whose every time is a multiple of half a second."""
    return st.builds(
        CALM.but,
        consecutive_failures=st.sampled_from((None, 1, 2, 3)),
        minimum_healthy_time=st.sampled_from((0.0, 3.0)),
        first_state=st.sampled_from(("optimistic", "wait")),
        probation_picks=st.sampled_from((0, 2, 3)),
        slow_start=st.sampled_from((0.0, 10.0)),
        slow_start_joiners=st.booleans(),
        max_ejected=st.sampled_from((0.0, 0.3, 0.5, 1.0)),
        min_ejected=st.sampled_from((0, 1)),
        min_eligible=st.sampled_from((1, 2)),
    )


class HealthMachine(RuleBasedStateMachine):
    """After any events, states, standings, picks left and events told are the model's."""

    twin: Twin

    @initialize(policy=policies(), weights=memberships)
    def begin(self, policy: HealthPolicy, weights: dict[str, float]) -> None:
        self.twin = Twin(policy)
        self.twin.hold(weights)

    def one(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(self.twin.names))

    def anybody(self) -> bool:
        return bool(self.twin.names)

    @rule(weights=memberships)
    def update(self, weights: dict[str, float]) -> None:
        self.twin.hold(weights)

    @rule(steps=waits)
    def wait(self, steps: int) -> None:
        self.twin.advance(steps)

    @rule(name=names, admin=st.sampled_from(Admin))
    def order(self, name: str, admin: Admin) -> None:
        self.twin.set_admin(name, admin)

    @rule(name=names, timeout=st.sampled_from((0.0, 2.0, 9.0)))
    def drain(self, name: str, timeout: float) -> None:
        self.twin.set_admin(name, Admin.DRAINING, timeout)

    @precondition(anybody)
    @rule(data=st.data(), ok=st.booleans(), times=st.integers(1, 3), degraded=st.booleans())
    def probe(self, data: st.DataObject, ok: bool, times: int, degraded: bool) -> None:
        name = self.one(data)
        for _ in range(times):
            self.twin.probe(name, ok, degraded and ok)

    @precondition(anybody)
    @rule(data=st.data(), outcome=st.sampled_from(Outcome), times=st.integers(1, 3), wait=asked)
    def request(
        self, data: st.DataObject, outcome: Outcome, times: int, wait: float | None
    ) -> None:
        name = self.one(data)
        for _ in range(times):
            self.twin.request(name, outcome, wait)

    @precondition(anybody)
    @rule(data=st.data(), outcome=st.sampled_from(Outcome), age=st.sampled_from((0.0, 3.0, 30.0)))
    def late_lease(self, data: st.DataObject, outcome: Outcome, age: float) -> None:
        self.twin.request(self.one(data), outcome, started=self.twin.clock.now - age)

    @precondition(anybody)
    @rule(data=st.data())
    def take_pick(self, data: st.DataObject) -> None:
        self.twin.take(self.one(data))


TestHealthMachine = HealthMachine.TestCase


def test_walks_reach_every_row_of_the_table(monkeypatch) -> None:
    """Random walks take every way the table has, beside the model."""
    taken = set()

    def fire(self, entry, trigger, at, reason, **details) -> bool:
        before = entry.state
        moved = original(self, entry, trigger, at, reason, **details)
        if moved:
            taken.add((before, trigger, entry.state))
        return moved

    original = Machine.fire
    monkeypatch.setattr(Machine, "fire", fire)
    rng = Random(7)
    for policy in (
        CALM,
        CALM.but(slow_start_joiners=True),
        CALM.but(slow_start=0.0),
        CALM.but(probation_picks=0),
        CALM.but(slow_start=0.0, probation_picks=0),
    ):
        for _ in range(30):
            walk(Twin(policy), rng, 150)

    assert {(state, trigger, row.target) for state, trigger, row in rows()} - taken == set()


def walk(twin: Twin, rng: Random, steps: int) -> None:
    """Do likely things in an unlikely order."""
    twin.hold(dict.fromkeys("abcd", 1.0))
    for _ in range(steps):
        if rng.random() < 0.03:
            twin.hold({n: float(rng.choice((1, 1, 2))) for n in rng.sample("abcdef", 4)})
        name = rng.choice(twin.names)
        match rng.randrange(7):
            case 0:
                twin.advance(rng.choice((1, 2, 5, 8, 20)))
            case 1 | 2:
                ok, degraded = rng.random() < 0.6, rng.random() < 0.3
                for _ in range(rng.randint(1, 3)):
                    twin.probe(name, ok, ok and degraded)
            case 3 | 4:
                outcome = rng.choice((Outcome.SUCCESS, Outcome.FAILURE))
                wait = rng.choice((None, None, None, 6.0))
                for _ in range(rng.randint(1, 2)):
                    twin.request(name, outcome, wait)
            case 5:
                twin.take(name)
            case 6:  # a lease of before, or of just now, ends
                outcome = rng.choice(list(Outcome))
                twin.request(name, outcome, started=twin.clock.now - rng.choice((0.0, 1.0, 9.0)))


def test_table_is_whole() -> None:
    """Every guard a row names exists, and no row stands behind one that always holds."""
    for triggers in TABLE.values():
        for ways in triggers.values():
            assert all(row.guard in GUARDS for row in ways if row.guard is not None)
            assert all(row.guard is not None for row in ways[:-1])
