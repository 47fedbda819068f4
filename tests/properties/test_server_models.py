"""Server models against slow obvious ones."""

import math
import random
from collections import Counter, OrderedDict
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulation_models import SharingServer as SlowSharing

from balancers import Endpoint, Outcome, RoundRobin
from balancers.simulation import Batch, FifoServer, Run, contender
from balancers.simulation.keys import Prompt, adapter, as_address
from balancers.simulation.models import (
    EngineSpec,
    Fault,
    FaultyServer,
    LlmServer,
    PrefixCache,
    Profile,
    QueueServer,
    SharingServer,
    noisy,
    steady,
    warming,
)
from balancers.simulation.models.queue import REJECTION

GAPS = st.lists(st.tuples(st.floats(0.0, 3.0), st.floats(0.01, 5.0)), min_size=1, max_size=40)
PIECES = st.lists(st.tuples(st.floats(0.01, 3.0), st.floats(0.05, 4.0)), max_size=8)


def arrivals(rows):
    """Return times and demands of (gap, demand) rows."""
    return list(accumulate(gap for gap, _ in rows)), [demand for _, demand in rows]


def profile(pieces):
    """Return a profile of (length, speed) pieces, then speed 1; and the pieces with their ends."""
    ends = list(accumulate(length for length, _ in pieces))
    found = [(end, speed) for end, (_, speed) in zip(ends, pieces, strict=True)]
    found.append((math.inf, 1.0))
    return Profile(iter(found)), found


def latencies(servers, rows):
    """Play the rows against one server; return the run."""
    times, demands = arrivals(rows)
    run = Run(contender(RoundRobin).build, (Endpoint("only"),), servers)
    run.feed(Batch(times, [None] * len(times), demands))
    run.finish()
    run._check()
    return run


# ------------------------------------------------------------------------------------ profiles


@given(PIECES, st.lists(st.tuples(st.floats(0.0, 2.0), st.floats(0.0, 5.0)), max_size=20))
def test_work_is_the_integral_of_speed(pieces, questions):
    """``finish`` inverts ``work``, and both agree with a sum over all pieces."""
    made, known = profile(pieces)
    start = 0.0
    for step, work in questions:
        start += step
        end = made.finish(start, work)
        total, begin = 0.0, 0.0
        for until, speed in known:
            low, high = max(begin, start), min(until, end)
            total += max(0.0, high - low) * speed
            begin = until
        assert total == pytest.approx(work, abs=1e-9)
        assert made.work(start, end) == pytest.approx(work, abs=1e-9)


def test_a_joiner_warms_up():
    """From a fifth of its speed to all of it, in even steps, and then it stays."""
    made = warming(2.0, born=10.0, seconds=5.0, factor=5.0)

    assert made.speed(10.0) == pytest.approx(0.4)
    speeds = [made.speed(10.25 + 0.5 * i) for i in range(10)]
    assert speeds == sorted(speeds)
    assert made.speed(15.0) == made.speed(1e9) == 2.0


def test_a_noisy_neighbour_takes_its_part_of_the_time():
    """Busy 1.5 of every 10 seconds at a third of the speed: work is 90 % of the time.

    Over 20,000 cycles the mean share of busy time deviates by 0.15·√(2/20,000)·0.85 = 0.13 %;
    6.11 of that, times the speed lost, is 0.53 %: false alarms ≤ 1e-9.
    """
    made = noisy(1.0, random.Random(1), factor=3.0, busy=1.5, quiet=8.5)
    total = sum(made.work(10.0 * i, 10.0 * (i + 1)) for i in range(20_000))

    assert total / 200_000 == pytest.approx(0.9, abs=0.0053)


# -------------------------------------------------------------------------------------- queues


@given(GAPS, st.integers(1, 4))
def test_a_steady_queue_is_the_plain_one(rows, workers):
    """At a steady speed and without a limit every end is that of ``FifoServer``."""
    plain, queue = FifoServer(0.5, workers), QueueServer(steady(0.5), workers)
    for now, demand in zip(*arrivals(rows), strict=True):
        assert queue.serve(now, demand, None, 0) == pytest.approx(plain.serve(now, demand, None, 0))
    queue._check()


@given(GAPS, st.integers(1, 3), st.integers(0, 3), PIECES)
def test_a_full_queue_turns_away(rows, workers, limit, pieces):
    """Who finds workers + limit inside gets an error at once; nobody else does."""
    server = QueueServer(profile(pieces)[0], workers, limit)
    ends = []
    for now, demand in zip(*arrivals(rows), strict=True):
        inside = sum(end > now for end in ends)
        end, outcome = server.serve(now, demand, None, 0)
        if inside >= workers + limit:
            assert (end, outcome) == (now + REJECTION, Outcome.FAILURE)
        else:
            assert outcome is Outcome.SUCCESS
            ends.append(end)
        server._check()
    assert server.rejected + len(ends) == server.picks == len(rows)


# ------------------------------------------------------------------------------------- sharing


@given(GAPS)
def test_sharing_is_that_of_the_slow_model(rows):
    """With one worker at speed 1, the latencies are those of a model that shares step by step."""
    fast = latencies(lambda endpoint, stage: SharingServer(stage, steady(1.0)), rows)
    slow = latencies(lambda endpoint, stage: SlowSharing(stage), rows)

    assert fast.histogram.total == pytest.approx(slow.histogram.total, abs=1e-6)
    assert fast.ended == pytest.approx(slow.ended, abs=1e-6)


@given(GAPS, st.integers(1, 5), PIECES)
def test_sharing_gives_everybody_an_equal_part(rows, workers, pieces):
    """Small steps of time, each shared by hand, end every request at the same time."""
    found = latencies(
        lambda endpoint, stage: SharingServer(stage, profile(pieces)[0], workers), rows
    )
    known, now, left, ends = profile(pieces)[1], 0.0, {}, {}
    coming = list(enumerate(zip(*arrivals(rows), strict=True)))
    while coming or left:
        speed = next(speed for until, speed in known if now < until)
        rate = speed * min(1.0, workers / len(left)) if left else 0.0
        stops = [until for until, _ in known if until > now]
        stops += [coming[0][1][0]] if coming else []
        stops += [now + min(left.values()) / rate] if left else []
        then = min(stops)
        left = {i: rest - rate * (then - now) for i, rest in left.items()}
        now = then
        for i in [i for i, rest in left.items() if rest <= 1e-9]:
            ends[i] = now
            del left[i]
        while coming and coming[0][1][0] <= now:
            i, (_, demand) = coming.pop(0)
            left[i] = demand
    times, _ = arrivals(rows)
    expected = sum(ends[i] - time for i, time in enumerate(times))

    assert found.histogram.total == pytest.approx(expected, abs=1e-5)


def test_sharing_turns_away_beyond_its_limit():
    """With room for three, the fourth at the same time is refused."""
    run = latencies(
        lambda endpoint, stage: SharingServer(stage, steady(1.0), 2, 1), [(0.0, 1.0)] * 5
    )

    assert run.failed == 2
    assert run.histogram.count == 3
    assert run.servers["only"].rejected == 2


# -------------------------------------------------------------------------------------- faults


def test_faults_begin_and_end():
    """Within its time a fault does what its kind says; at its end, and before, nothing."""
    cases = {
        "slow": (5.0, Outcome.SUCCESS),
        "fail": (0.001, Outcome.FAILURE),
        "hang": (0.001, Outcome.FAILURE),
    }
    for kind, (takes, outcome) in cases.items():
        server = FaultyServer(FifoServer(), [Fault(kind, 10.0, 20.0, factor=5.0)], random.Random(0))
        assert server.serve(0.0, 1.0, None, 0) == (1.0, Outcome.SUCCESS)
        assert server.serve(10.0, 1.0, None, 0) == (10.0 + takes, outcome)
        assert server.serve(20.0, 1.0, None, 0) == (21.0, Outcome.SUCCESS)
        assert (server.picks, server.wasted) == (3, 1)


def test_a_hang_costs_its_machine_nothing():
    """Failed requests take no worker's time."""
    server = FaultyServer(FifoServer(), [Fault("hang", 0.0, 5.0, after=5.0)], random.Random(0))
    for _ in range(100):
        assert server.serve(1.0, 1.0, None, 0) == (6.0, Outcome.FAILURE)

    assert server.busy == 0.0


def test_an_intermittent_fault_hits_its_share():
    """A tenth of 20,000 requests: binomial, 6.11 deviations are 259: false alarms ≤ 1e-9."""
    server = FaultyServer(
        FifoServer(workers=1), [Fault("intermittent", 0.0, factor=30.0, share=0.1)],
        random.Random(3),
    )  # fmt: skip
    for i in range(20_000):
        server.serve(100.0 * i, 1.0, None, 0)
    hit = (server.busy - 20_000) / 29.0

    assert abs(hit - 2_000) < 259


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "tired", "begin": 0.0}, {"kind": "slow", "begin": 2.0, "end": 1.0},
        {"kind": "slow", "begin": -1.0}, {"kind": "slow", "begin": 0.0, "factor": 0.0},
        {"kind": "intermittent", "begin": 0.0, "share": 1.1},
        {"kind": "fail", "begin": 0.0, "after": math.nan},
    ],
)  # fmt: skip
def test_bad_faults_are_refused(fault):
    """An unknown kind, or a number out of range, raises."""
    with pytest.raises(ValueError, match="fault"):
        Fault(**fault)


# -------------------------------------------------------------------------------- language models


class SlowCache:
    """A cache of prefixes as a list of blocks, most recently used last."""

    def __init__(self, capacity):
        self.capacity = capacity
        self.blocks = []

    def match(self, blocks):
        count = 0
        while count < len(blocks) and blocks[count] in self.blocks:
            count += 1
        return count

    def use(self, blocks):
        for block in reversed(blocks[: self.capacity]):
            if block in self.blocks:
                self.blocks.remove(block)
            self.blocks.append(block)
        self.blocks = self.blocks[max(0, len(self.blocks) - self.capacity) :]


@given(
    st.integers(0, 8),
    st.lists(st.lists(st.integers(0, 12), unique=True, max_size=6), max_size=40),
)
def test_the_prefix_cache_is_least_recently_used_first(capacity, prompts):
    """Matches and contents are those of a list kept in order by hand."""
    cache, slow = PrefixCache(capacity), SlowCache(capacity)
    for blocks in prompts:
        assert cache.match(blocks) == slow.match(blocks)
        cache.use(blocks)
        slow.use(blocks)
        assert list(cache._blocks) == slow.blocks
        assert len(cache) <= capacity


def test_an_engine_by_hand():
    """Two prompts that share a block: first tokens, hit and ends as computed on paper."""
    spec = EngineSpec(prefill=1000.0, block=100, capacity=10, step=0.1, step_each=0.1)
    firsts, ends = {}, {}

    class Diary:
        def __init__(self, stage):
            self.stage = stage
            self.count = 0

        def pick(self, key=None):
            self.count += 1
            name, clock = self.count, self.stage.clock

            class Lease:
                endpoint = self.stage.endpoints[0]

                def responded(self):
                    firsts[name] = clock()

                def done(self, outcome=Outcome.SUCCESS):
                    ends[name] = clock()
                    return True

            return Lease()

    run = Run(Diary, (Endpoint("gpu"),), lambda endpoint, stage: LlmServer(stage, spec))
    prompts = [Prompt((1, 2), 200, 3), Prompt((1, 3), 200, 2)]
    run.feed(Batch([0.0, 0.0], prompts, [1.0, 1.0]))
    run.finish()

    # Prefill 0.2 s; then one block of the second is cached: 0.1 s more.
    assert firsts == pytest.approx({1: 0.2, 2: 0.3})
    # Alone a token takes 0.2 s: half a token by 0.3. Together 0.3 s each: the second has its one
    # at 0.6, when the first has 1.5 of two; the rest alone takes 0.1 s.
    assert ends == pytest.approx({1: 0.7, 2: 0.6})
    server = run.servers["gpu"]
    assert (server.hit, server.asked) == (1, 4)
    server._check()


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(
            st.floats(0.0, 1.0),
            st.lists(st.integers(0, 9), unique=True, min_size=1, max_size=5),
            st.integers(0, 20),
        ),
        min_size=1, max_size=30,
    )
)  # fmt: skip
def test_every_prompt_ends_after_its_first_token(rows):
    """An engine answers every prompt once, first tokens before ends, and keeps its invariants."""
    times = list(accumulate(gap for gap, _, _ in rows))
    prompts = [Prompt(tuple(blocks), 512 * len(blocks), out) for _, blocks, out in rows]
    run = Run(
        contender(RoundRobin).build,
        (Endpoint("a"), Endpoint("b")),
        lambda endpoint, stage: LlmServer(stage, EngineSpec(capacity=6)),
    )
    run.feed(Batch(times, prompts, [1.0] * len(rows)))
    run.finish()
    run._check()

    assert run.first.count == run.histogram.count == len(rows)
    assert run.first.total <= run.histogram.total + 1e-9
    for server in run.servers.values():
        server._check()


# ---------------------------------------------------------------------------------------- keys


@given(st.text(), st.binary(), st.integers())
def test_any_key_has_an_address(text, raw, number):
    """Whatever the key, the address is one, the same every time; an address stays itself."""
    turn = adapter("address")
    addresses = turn([text, raw, number, Prompt((1, 2, 3), 5, 5)])

    assert addresses == adapter("address")([text, raw, number, Prompt((1, 2, 9), 8, 8)])
    assert all(as_address(address) == address for address in addresses)
    assert adapter("address")(["2001:db8::1", "10.1.2.3"]) == ["2001:db8::1", "10.1.2.3"]


def test_each_kind_of_policy_gets_its_kind_of_key():
    """A prompt is its conversation, its blocks, or itself; other keys pass, or become bytes."""
    prompt = Prompt((7, 8, 9), 100, 1)

    assert adapter("any")([prompt]) == ["7-8"]
    assert adapter("prefix")([prompt, "é", b"x", 12]) == [(7, 8, 9), "é".encode(), b"x", b"12"]
    assert adapter("raw") is None
    keys = ["a", b"b", 3]
    assert adapter("any")(keys) is keys


def test_addresses_spread():
    """Over 10,000 keys no address repeats more than three times: far below 1e-9 by chance."""
    assert max(Counter(as_address(f"user-{i}") for i in range(10_000)).values()) <= 3
    assert OrderedDict.fromkeys([as_address("x"), as_address(b"x")]) == {as_address("x"): None}
