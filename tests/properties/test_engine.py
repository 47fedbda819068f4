"""The event loop against slow obvious models."""

import math
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulation_models import SharingServer, sharing

from balancers import Endpoint, NoEligibleEndpointError, Outcome, RoundRobin
from balancers.simulation import Batch, FifoServer, Run, fifo

# ---------------------------------------------------------------------------------- stand-ins


class Lease:
    """A lease that keeps a diary: when it began, when and how it was settled, how often."""

    def __init__(self, endpoint, clock):
        self.endpoint = endpoint
        self.clock = clock
        self.began = clock()
        self.ends = []

    def done(self, outcome=Outcome.SUCCESS):
        self.ends.append((self.clock(), outcome))
        return len(self.ends) == 1


class Scripted:
    """Goes where the script says; -1 refuses. Notes how many leases are open at each pick."""

    def __init__(self, stage, script):
        self.stage = stage
        self.script = iter(script)
        self.leases = []
        self.open = []
        self.keys = []

    def pick(self, key=None):
        self.keys.append(key)
        target = next(self.script)
        if target < 0:
            raise NoEligibleEndpointError("nobody")
        self.open.append(sum(not lease.ends for lease in self.leases))
        lease = Lease(self.stage.endpoints[target], self.stage.clock)
        self.leases.append(lease)
        return lease

    def close(self):
        pass


ENDPOINTS = tuple(
    Endpoint(name, weight=weight) for name, weight in (("a", 1), ("b", 2), ("c", 0.5))
)


@st.composite
def arrivals(draw):
    """Draw (time, demand, target) rows, times rising with ties, targets of ENDPOINTS or -1."""
    rows = draw(
        st.lists(
            st.tuples(
                st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0]),
                st.sampled_from([0.125, 0.5, 1.0, 2.0, 7.0]) | st.floats(1e-6, 1e3),
                st.integers(-1, 2),
            ),
            max_size=40,
        )
    )
    now, found = 0.0, []
    for gap, demand, target in rows:
        now += gap
        found.append((now, demand, target))
    return found


def play(rows, servers, cuts=()):
    """Run the rows, cut into batches at ``cuts``; return the run and its scripted policy."""
    made = []

    def build(stage):
        made.append(Scripted(stage, [target for _, _, target in rows]))
        return made[0]

    run = Run(build, ENDPOINTS, servers)
    edges = sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
    for start, end in pairwise(edges):
        part = rows[start:end]
        times = [time for time, _, _ in part]
        run.feed(Batch(times, [f"k{time}" for time in times], [demand for _, demand, _ in part]))
        run._check()
    run.finish()
    run._check()
    return run, made[0]


def slow_ends(rows, workers):
    """Serve first come first served, moving one worker at a time; the end of each row or None."""
    ends = [None] * len(rows)
    for target, endpoint in enumerate(ENDPOINTS):
        idle_from = [0.0] * workers
        for i, (time, demand, where) in enumerate(rows):
            if where == target:
                worker = idle_from.index(min(idle_from))
                ends[i] = max(time, idle_from[worker]) + demand * (1.0 / endpoint.weight)
                idle_from[worker] = ends[i]
    return ends


# --------------------------------------------------------------------------------- properties


@given(arrivals(), st.integers(1, 4), st.lists(st.integers(0, 40), max_size=4))
def test_every_lease_ends_when_the_slow_queue_says(rows, workers, cuts):
    """Each lease is settled once, at the time a hand-moved queue gives, however it is batched."""
    run, policy = play(rows, fifo(workers), cuts)
    expected = [end for end in slow_ends(rows, workers) if end is not None]

    assert [lease.ends for lease in policy.leases] == [[(end, Outcome.SUCCESS)] for end in expected]
    assert run.ended == max([0.0, *expected, *(time for time, _, _ in rows)])


@given(arrivals(), st.integers(1, 3))
def test_a_policy_sees_the_leases_open_at_that_moment(rows, workers):
    """At a pick, exactly the earlier leases that end later are open; an end precedes a tie."""
    _, policy = play(rows, fifo(workers))
    ends = slow_ends(rows, workers)
    placed = [(time, end) for (time, _, _), end in zip(rows, ends, strict=True) if end is not None]
    expected = [sum(end > time for _, end in placed[:i]) for i, (time, _) in enumerate(placed)]

    assert policy.open == expected


@given(arrivals(), st.sampled_from(["fifo", "sharing", "mixed"]), st.lists(st.integers(0, 40)))
def test_every_arrival_ends_exactly_once(rows, model, cuts):
    """Arrived = refused + settled, each lease settled once, whatever the servers are."""

    class Failing(FifoServer):
        def serve(self, now, demand, key, ticket):
            end, _ = super().serve(now, demand, key, ticket)
            return end, Outcome.FAILURE if demand > 1.0 else Outcome.SUCCESS

    def mixed(endpoint, stage):
        return SharingServer(stage) if endpoint.id == "a" else Failing()

    servers = {"fifo": fifo(), "sharing": sharing, "mixed": mixed}[model]
    run, policy = play(rows, servers, cuts)
    outcomes = Counter(lease.ends[0][1] for lease in policy.leases)

    assert all(len(lease.ends) == 1 for lease in policy.leases)
    assert len(rows) == run.arrived == run.refused + run.settled
    assert run.refused == sum(target < 0 for _, _, target in rows)
    assert run.histogram.count == outcomes[Outcome.SUCCESS]
    assert run.failed == outcomes[Outcome.FAILURE]
    assert sum(server.picks for server in run.servers.values()) == run.started
    latencies = [
        lease.ends[0][0] - lease.began
        for lease in policy.leases
        if lease.ends[0][1] is Outcome.SUCCESS
    ]
    assert run.histogram.total == pytest.approx(sum(latencies))


@given(arrivals())
def test_sharing_conserves_work(rows):
    """Processor sharing empties each server when first come first served at that speed does."""
    flat = [(time, demand, 0) for time, demand, _ in rows]
    shared, _ = play(flat, sharing)
    queued, _ = play(flat, fifo())

    assert shared.ended == pytest.approx(queued.ended)


@given(st.lists(st.floats(0.0, 100.0), max_size=20), arrivals())
def test_timers_fire_once_in_order_and_at_their_time(times, rows):
    """Timers are called at the time they were set for, in order, those past the end never."""
    fired = []

    def build(stage):
        for time in times:
            stage.at(time, lambda at: fired.append((at, stage.clock())))
        return Scripted(stage, [target for _, _, target in rows])

    run = Run(build, ENDPOINTS, fifo())
    run.feed(Batch([t for t, _, _ in rows], [None] * len(rows), [d for _, d, _ in rows]))
    run.finish()

    last = max([run.ended, *(time for time, _, _ in rows)])
    assert [at for at, _ in fired] == sorted(time for time in times if rows and time <= last)
    assert all(at == clock for at, clock in fired)


def test_a_timer_in_the_past_is_refused():
    """A timer before now, or at no time, raises and leaves nothing behind."""
    run = Run(lambda stage: Scripted(stage, [0]), ENDPOINTS, fifo())
    run.feed(Batch([5.0], ["k"], [1.0]))
    for time in (4.9, math.nan):
        with pytest.raises(ValueError, match="timer"):
            run.at(time, lambda at: None)
    run.finish()
    run._check()


def test_a_server_that_forgets_a_request_is_named():
    """A model that returns None and never completes is an error, not an endless run."""

    class Forgetful(FifoServer):
        def serve(self, now, demand, key, ticket):
            return None

    run = Run(lambda stage: Scripted(stage, [0]), ENDPOINTS, lambda endpoint, stage: Forgetful())
    run.feed(Batch([0.0], ["k"], [1.0]))

    with pytest.raises(RuntimeError, match="1 requests were taken and never completed"):
        run.finish()


def test_keys_reach_keyed_policies_alone():
    """A policy that ignores keys is called without them."""
    for keyed, expected in ((True, ["x", "y"]), (False, [None, None])):
        seen = []

        def build(stage, seen=seen):
            policy = Scripted(stage, [0, 1])
            policy.keys = seen
            return policy

        Run(build, ENDPOINTS, fifo(), keyed=keyed).feed(Batch([0.0, 1.0], ["x", "y"], [1.0, 1.0]))

        assert seen == expected


def test_an_endpoint_may_join_while_the_run_is_on():
    """A timer can put a server behind a new endpoint and add it to the policy."""

    def build(stage):
        balancer = RoundRobin(stage.endpoints, clock=stage.clock, rng=stage.rng, phase=0)

        def grow(at):
            joiner = Endpoint("d")
            stage.join(joiner)
            balancer.update([*stage.endpoints, joiner])

        stage.at(10.0, grow)
        return balancer

    run = Run(build, ENDPOINTS, fifo())
    run.feed(Batch([float(i) for i in range(50)], [None] * 50, [0.1] * 50))
    run.finish()

    assert 8 <= run.servers["d"].picks <= 12
    assert sum(server.picks for server in run.servers.values()) == 50
