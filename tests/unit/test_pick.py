"""``Pick``: a lease settled exactly once, however it ends."""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import pickle
import subprocess
import sys
import textwrap
import warnings
import weakref

import pytest

from balancers import Observer, Outcome, Pick, Reason, RoundRobin
from balancers.core import Policy
from balancers.testing import ManualClock, RecordingObserver


def counts(balancer):
    """In-flight by id."""
    return {view.endpoint.id: view.in_flight for view in balancer.snapshot().endpoints}


@pytest.fixture(params=[False, True], ids=["plain", "observed"])
def observer(request):
    """Without an observer leases are plain; with one, tracked."""
    return RecordingObserver() if request.param else None


@pytest.fixture
def balancer(observer):
    """One endpoint, so that every pick is on "a"."""
    return RoundRobin(["a"], observer=observer, clock=ManualClock())


def test_done_is_true_once(balancer):
    """The first ``done`` settles and says True; every later one, of any kind, says False."""
    pick = balancer.pick()
    assert counts(balancer) == {"a": 1}
    assert pick.done(Outcome.FAILURE) is True
    assert counts(balancer) == {"a": 0}
    assert [pick.done(), pick.done(Outcome.CANCELLED, latency=1.0)] == [False, False]
    with pick:
        pass
    pick.responded()
    assert counts(balancer) == {"a": 0}


def test_a_block_that_was_left_counts_once(balancer, observer):
    """A lease settled inside its block is left alone at the block's end."""
    with balancer.pick() as pick:
        assert pick.done(Outcome.CANCELLED)
    assert counts(balancer) == {"a": 0}
    if observer:
        assert observer.outcomes == [("a", Outcome.CANCELLED)]


def test_blocks_nest(balancer):
    """Leases are independent, also on one endpoint."""
    with balancer.pick(), balancer.pick():
        assert counts(balancer) == {"a": 2}
        with balancer.pick():
            assert counts(balancer) == {"a": 3}
        assert counts(balancer) == {"a": 2}
    assert counts(balancer) == {"a": 0}


def test_attributes(balancer):
    """A lease carries its endpoint, its reason and its affinity."""
    with balancer.pick() as pick:
        assert pick.endpoint is balancer.endpoints[0]
        assert pick.reason is Reason.NORMAL
        assert pick.affinity is None
        assert "open" in repr(pick)
    assert "settled" in repr(pick)
    assert "'a'" in repr(pick)


@pytest.mark.parametrize("cost", [1.0, 2.5])
def test_responded_takes_the_cost_out(balancer, cost):
    """After the first byte the load is gone and the lease still in flight, once."""
    pick = balancer.pick(cost=cost)
    assert balancer.snapshot().endpoints[0].load == cost
    for _ in range(2):
        pick.responded()
        view = balancer.snapshot().endpoints[0]
        assert (view.load, view.in_flight) == (0.0, 1)
    pick.done()
    view = balancer.snapshot().endpoints[0]
    assert (view.load, view.in_flight) == (0.0, 0)


def test_latency_ends_at_the_first_byte():
    """An observer hears the seconds from the pick to ``responded``, else to ``done``."""
    clock, observer = ManualClock(100.0), RecordingObserver()
    balancer = RoundRobin(["a"], clock=clock, observer=observer)
    for respond, expected in ((True, 0.5), (False, 2.5)):
        pick = balancer.pick()
        clock.advance(0.5)
        if respond:
            pick.responded()
        clock.advance(2.0)
        pick.done()
        assert observer.events[-1].latency == expected
    balancer.pick().done(latency=0)
    assert observer.events[-1].latency == 0


def test_a_copy_is_refused(balancer):
    """A copied lease would settle its original when dropped: it cannot be made."""
    pick = balancer.pick()
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="lease"):
            duplicate(pick)
    assert pick.done()


def test_a_half_made_lease_dies_quietly():
    """A lease interrupted before it has a serial leaves nothing behind, not even a message."""
    Pick()
    Pick.__new__(Pick)
    gc.collect()  # an exception in __del__ would be an error of this test


def test_weak_references(balancer):
    """A lease can be referenced weakly."""
    pick = balancer.pick()
    reference = weakref.ref(pick)
    assert reference() is pick
    pick.done()
    del pick
    assert reference() is None


def test_dropped_in_a_cycle(balancer):
    """A lease kept alive by a reference cycle is recovered once the collector finds it."""
    keeper = {"pick": balancer.pick()}
    keeper["self"] = keeper
    del keeper
    assert counts(balancer) == {"a": 1}
    gc.collect()
    with pytest.warns(ResourceWarning, match="1 pick.* on a"):
        assert counts(balancer) == {"a": 0}


def test_dropped_leases_are_named(balancer):
    """The warning says how many were dropped, and where."""
    balancer.update(["a", "b"])
    kept = [balancer.pick() for _ in range(5)]
    kept.clear()
    with pytest.warns(ResourceWarning, match="5 pick.* on a, b"):
        balancer.snapshot()


class Plain(Policy):
    """A policy without a ``pick`` of its own."""

    def _choose(self, view, key, exclude, cost, rng):
        return view.cells[0]


@pytest.mark.parametrize("policy", [RoundRobin, Plain])
@pytest.mark.parametrize("call", ["pick", "update", "snapshot"])
def test_the_warning_points_at_the_caller(policy, call):
    """The warning is shown at the line that called the balancer, whatever lies between."""
    balancer = policy(["a"])
    arguments = [["a"]] if call == "update" else []
    balancer.pick()
    line = inspect.currentframe().f_lineno + 2
    with pytest.warns(ResourceWarning) as caught:
        got = getattr(balancer, call)(*arguments)
    assert caught[0].filename == __file__
    assert caught[0].lineno == line
    if call == "pick":
        got.done()


def test_generator_close(balancer, observer):
    """Closing a generator in the middle of its block cancels the lease."""

    def stream():
        with balancer.pick():
            yield 1
            yield 2

    generator = stream()
    next(generator)
    assert counts(balancer) == {"a": 1}
    generator.close()
    assert counts(balancer) == {"a": 0}
    if observer:
        assert observer.outcomes == [("a", Outcome.CANCELLED)]


def test_asyncio_cancellation(balancer, observer):
    """A cancelled task's lease is cancelled, and the cancellation goes on."""

    async def request():
        with balancer.pick():
            await asyncio.Event().wait()

    async def main():
        task = asyncio.create_task(request())
        await asyncio.sleep(0)
        assert counts(balancer) == {"a": 1}
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert counts(balancer) == {"a": 0}
    if observer:
        assert observer.outcomes == [("a", Outcome.CANCELLED)]


def test_asyncio_timeout_is_a_failure(balancer, observer):
    """A timeout inside the block is the endpoint's failure, unlike a cancellation from outside."""

    async def request():
        with balancer.pick():
            async with asyncio.timeout(0):
                await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        asyncio.run(request())
    assert counts(balancer) == {"a": 0}
    if observer:
        assert observer.outcomes == [("a", Outcome.FAILURE)]


def test_exception_of_the_block_goes_on(balancer):
    """The block's own exception comes out, the same object, not suppressed or wrapped."""
    error = LookupError("mine")
    with pytest.raises(LookupError) as caught, balancer.pick():
        raise error
    assert caught.value is error
    assert error.__context__ is None


def test_a_base_exception_of_an_observer_cancels():
    """An observer's KeyboardInterrupt goes out of ``pick``; the lease nobody got is recovered."""

    class Interrupting(Observer):
        def on_pick(self, pick):
            raise KeyboardInterrupt

    balancer = RoundRobin(["a"], observer=Interrupting())
    with pytest.raises(KeyboardInterrupt):
        balancer.pick()
    with pytest.warns(ResourceWarning):
        assert counts(balancer) == {"a": 0}


def test_a_base_exception_of_classify_leaves_the_lease_to_be_recovered():
    """Where ``classify`` itself is interrupted, the lease is not lost."""

    def classify(error):
        raise KeyboardInterrupt

    balancer = RoundRobin(["a"], classify=classify)
    with pytest.raises(KeyboardInterrupt), balancer.pick():
        raise ValueError
    gc.collect()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        assert counts(balancer) == {"a": 0}


def test_the_balancer_may_go_first():
    """A lease outlives its balancer, settles once, and may be dropped too."""
    balancer = RoundRobin(["a"])
    kept, dropped = balancer.pick(), balancer.pick()
    del balancer
    gc.collect()
    del dropped
    assert kept.done() is True
    assert kept.done() is False


def test_open_leases_survive_a_round_of_collection(balancer):
    """The collector leaves a lease that is still held alone."""
    pick = balancer.pick()
    gc.collect()
    assert counts(balancer) == {"a": 1}
    assert pick.done()


def test_collection_in_the_middle_of_everything(observer):
    """With the collector running at every allocation, finalizers included, nothing is lost."""
    balancer = RoundRobin([f"e{i}" for i in range(5)], observer=observer)

    class Cycle:
        def __init__(self):
            self.me, self.pick = self, balancer.pick()

    before = gc.get_threshold()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.set_threshold(1)
        try:
            for i in range(300):
                Cycle()
                with balancer.pick(cost=1.0 + i % 2):
                    pass
                balancer.update([f"e{(i + j) % 7}" for j in range(5)])
        finally:
            gc.set_threshold(*before)
        gc.collect()
        assert not any(counts(balancer).values())
    if observer:
        assert len(observer.outcomes) == len(observer.picks) == 600


@pytest.mark.parametrize("observed", [False, True])
def test_interpreter_shutdown(observed):
    """Leases still open, dropped or in cycles when the interpreter ends make no noise."""
    code = f"""
        import balancers, balancers.testing as testing
        observer = testing.RecordingObserver() if {observed} else None
        balancer = balancers.RoundRobin(["a", "b"], observer=observer)
        held = [balancer.pick() for _ in range(3)]
        balancer.pick(cost=2.0)
        class Cycle: pass
        cycle = Cycle(); cycle.me, cycle.pick = cycle, balancer.pick()
        del cycle
        class Late:
            def __del__(self, pick=balancer.pick()):
                pick.done()
        late = Late()
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore::ResourceWarning", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
