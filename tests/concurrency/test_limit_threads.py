"""``Limit`` under threads, tasks and nesting: never over, never lost, never stuck."""

import asyncio
import contextlib
import threading
from functools import partial
from random import Random
from typing import Any, ClassVar

import pytest

from balancers import (
    Endpoint,
    LeastConnections,
    Limit,
    NoEligibleEndpointError,
    NoEndpointError,
    Priority,
    RoundRobin,
    Sticky,
)
from balancers.adapters.waiting import acquire
from balancers.testing import RecordingObserver


def in_threads(count: int, work: Any) -> None:
    """Run ``work(i)`` on so many threads at once; fail if one of them does."""
    errors: list[BaseException] = []
    start = threading.Barrier(count)

    def run(index: int) -> None:
        start.wait()
        try:
            work(index)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors, errors
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("policy", [RoundRobin, LeastConnections])
def test_no_thread_gets_past_a_cap(policy: Any):
    """Eight threads, room for five, at most two an endpoint: watched from inside each lease."""
    limit = Limit(["a", "b", "c"], policy=policy, per_endpoint=2, total=5)
    inside = dict.fromkeys("abc", 0)
    guard = threading.Lock()
    served = [0]

    def work(index: int) -> None:
        for _ in range(150):
            try:
                pick = limit.pick()
            except NoEligibleEndpointError:
                continue
            with pick:
                with guard:
                    inside[pick.endpoint.id] += 1
                    assert inside[pick.endpoint.id] <= 2
                    assert sum(inside.values()) <= 5
                    served[0] += 1
                with guard:
                    inside[pick.endpoint.id] -= 1

    in_threads(8, work)
    limit._check()
    assert limit.snapshot().details == {"open": 0.0, "full": 0.0, "waiting": 0.0}
    assert sum(view.picks for view in limit.snapshot().endpoints) == served[0]


def test_waiting_threads_are_all_served():
    """Twelve threads through one place, each twenty times: everybody gets in, one at a time."""
    limit = Limit(["a"], policy=RoundRobin, per_endpoint=1, queue=12)
    inside: list[int] = []

    def work(index: int) -> None:
        for _ in range(20):
            with limit.acquire(timeout=30):
                inside.append(index)
                assert len(inside) == 1
                inside.pop()

    in_threads(12, work)
    assert limit.snapshot().endpoints[0].picks == 240
    limit._check()


def test_updates_do_not_lose_waiters():
    """Members come and go while threads wait: whoever waits is served in the end."""
    limit = Limit(["a"], policy=RoundRobin, per_endpoint=1, queue=6)
    stop = threading.Event()

    def work(index: int) -> None:
        if index == 0:
            chance = Random(1)
            while not stop.is_set():
                limit.update(chance.sample(["a", "b", "c"], chance.randint(1, 3)))
            return
        for _ in range(40):
            with limit.acquire(timeout=30):
                pass
        if index == 1:
            stop.set()

    in_threads(5, work)
    limit._check()


def test_a_settlement_in_the_middle_of_a_pick():
    """Where a finalizer settles while its own thread holds the lock, nothing is stuck or lost."""
    limit = Limit(["a"], policy=RoundRobin, total=1, queue=1)
    held = limit.pick()
    ticket = limit.enqueue()
    with limit._lock:
        assert held.done()
    assert ticket.pick is None
    limit.update(["a", "b"])  # whoever takes the lock next makes up for it
    assert ticket.pick is not None
    with limit._lock:
        assert ticket.pick.done()
    limit.pick().done()
    limit._check()


class Interrupted(RoundRobin):
    """A round robin in the middle of whose choice other things happen, as finalizers do."""

    meanwhile: ClassVar[list[Any]] = []

    def _descend(self, *arguments: Any) -> Any:
        while self.meanwhile:
            self.meanwhile.pop()()
        return super()._descend(*arguments)


TWO = [Endpoint("a"), Endpoint("b", priority=1)]


def one_each(endpoints: Any) -> Limit:
    """Return a limit of one lease an endpoint."""
    return Limit(endpoints, policy=Interrupted, per_endpoint=1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Limit(TWO, policy=lambda e: Priority(e, policy=one_each), total=9, queue=9),
        lambda: Sticky(TWO, policy=lambda e: Priority(e, policy=one_each), mode="table"),
        lambda: Priority(TWO, policy=lambda e: Sticky(e, policy=one_each, mode="table")),
        lambda: Limit(TWO, policy=lambda e: Limit(e, policy=one_each, total=9), total=9, queue=9),
    ],
)
def test_room_made_deep_inside_in_the_middle_of_a_pick(make: Any):
    """Whoever listens is told after every lock is free, so may pick; and nobody is stuck."""
    balancer = make()
    first, second = balancer.pick("x"), balancer.pick("y")
    with pytest.raises(NoEligibleEndpointError):
        balancer.pick("z")
    ticket = balancer.enqueue("z") if isinstance(balancer, Limit) else None
    told: list[Any] = []

    def listener() -> None:
        with contextlib.suppress(NoEligibleEndpointError), balancer.pick("w") as pick:
            told.append(pick.endpoint.id)

    balancer.changed(listener)
    Interrupted.meanwhile[:] = [first.done]
    with contextlib.suppress(NoEligibleEndpointError):
        told.append(balancer.pick("v", exclude=["a"]))
    assert not Interrupted.meanwhile
    assert told == ([] if ticket else ["a"])
    assert ticket is None or (ticket.pick is not None and ticket.pick.done())
    second.done()
    balancer._check()


def test_a_long_queue_of_hasty_callbacks():
    """A thousand who wait, each done as soon as it is served: in turn, not within one another."""
    limit = Limit(["a"], policy=RoundRobin, total=1, queue=1_000)
    order: list[int] = []
    held = limit.pick()
    tickets = [limit.enqueue() for _ in range(1_000)]

    def finish(index: int) -> None:
        order.append(index)
        tickets[index].pick.done()  # type: ignore[union-attr]

    for index, ticket in enumerate(tickets):
        ticket.then(partial(finish, index))
    held.done()
    assert order == list(range(1_000))
    limit._check()


def test_a_listener_that_makes_room_is_told_again_and_not_within_itself():
    """Told of room, it takes it, has another one refused, and gives it back, five times over."""
    for limit in (
        Limit(["a"], policy=RoundRobin, total=1),
        Priority(["a"], policy=lambda e: Limit(e, policy=RoundRobin, total=1)),
    ):
        depths: list[int] = []
        inside = [0]

        def listener(limit: Any = limit, depths: Any = depths, inside: Any = inside) -> None:
            inside[0] += 1
            depths.append(inside[0])
            pick = limit.pick()
            if len(depths) < 5:
                with pytest.raises(NoEligibleEndpointError):
                    limit.pick()
            pick.done()
            inside[0] -= 1

        limit.changed(listener)
        held = limit.pick()
        with pytest.raises(NoEligibleEndpointError):
            limit.pick()
        held.done()
        assert depths == [1] * 5


def test_listeners_of_many_limits_are_told_one_after_another():
    """Told of room in one limit, it makes room in the next: no call within another."""
    members = [Endpoint(f"e{i}", priority=i) for i in range(6)]
    balancer = Priority(members, policy=lambda e: Limit(e, policy=RoundRobin, total=1))
    held = [balancer.pick() for _ in members]
    with pytest.raises(NoEligibleEndpointError):
        balancer.pick()
    depths: list[int] = []
    inside: list[int] = []

    def listener() -> None:
        inside.append(1)
        depths.append(len(inside))
        if held:
            held.pop().done()
        inside.pop()

    balancer.changed(listener)
    held.pop().done()
    assert depths == [1] * 6


def test_leaving_the_queue_hides_no_settlement():
    """A lease that ends while somebody leaves the queue makes room for who is next."""
    limit = Limit(["a"], policy=RoundRobin, total=1, queue=2)
    held = limit.pick()
    first, second = limit.enqueue(), limit.enqueue()
    limit._waiting = Interfering(limit._waiting)
    limit._waiting.meanwhile = held.done
    assert first.cancel()
    assert second.pick is not None
    second.pick.done()


class Interfering(dict[Any, Any]):
    """A queue that has something else happen when it is looked at."""

    meanwhile: Any = None

    def __contains__(self, item: object) -> bool:
        if self.meanwhile:
            act, self.meanwhile = self.meanwhile, None
            act()
        return super().__contains__(item)


def test_a_settlement_that_is_noted_by_a_pick_wakes_whoever_waits():
    """A lease ends while somebody holds the lock to pick: who waits is served all the same."""
    limit = Limit(["a", "b"], policy=RoundRobin, per_endpoint=1, queue=1)
    first, second = limit.pick(exclude=["b"]), limit.pick(exclude=["a"])
    ticket = limit.enqueue()
    enter = limit._enter

    def late(*arguments: Any) -> Any:
        first.done()
        return enter(*arguments)

    limit._enter = late  # type: ignore[method-assign]
    with pytest.raises(NoEligibleEndpointError):
        limit.pick(exclude=["a"])
    assert ticket.pick is not None
    ticket.pick.done()
    second.done()
    limit._check()


def test_order_of_arrival():
    """Whoever came first is served first; those who cannot use the place are passed over."""
    limit = Limit(["a", "b"], policy=RoundRobin, per_endpoint=1, queue=3)
    one, two = limit.pick(exclude=["b"]), limit.pick()
    picky = limit.enqueue(exclude=["a"])
    first, second = limit.enqueue(), limit.enqueue()
    one.done()
    assert (picky.pick, second.pick) == (None, None)
    assert first.pick is not None
    two.done()
    assert picky.pick is not None
    assert picky.pick.endpoint.id == "b"
    first.pick.done()
    assert second.pick is not None
    for ticket in (picky, second):
        assert ticket.pick is not None
        ticket.pick.done()


def test_a_callback_may_do_anything():
    """It runs outside the locks: it may pick, settle, update and explain, and may fail."""
    limit = Limit(["a"], policy=RoundRobin, per_endpoint=1, queue=2)
    held = limit.pick()
    seen: list[Any] = []

    def act() -> None:
        seen.append(limit.explain().chosen)
        limit.update(["a", "b"])
        with limit.pick() as pick:
            seen.append(pick.endpoint.id)
        raise RuntimeError("contained")

    ticket = limit.enqueue()
    ticket.then(act)
    held.done()
    assert seen == [None, "b"]
    assert ticket.pick is not None
    ticket.pick.done()
    late: list[int] = []
    ticket.then(lambda: late.append(1))
    assert late == [1]


def test_observers_hear_of_granted_tickets():
    """A pick that comes to a waiter is announced like any other."""
    observer = RecordingObserver()
    limit = Limit(["a"], policy=RoundRobin, total=1, queue=1, observer=observer)
    held = limit.pick()
    ticket = limit.enqueue()
    held.done()
    assert ticket.pick is not None
    ticket.pick.done()
    assert observer.picks == ["a", "a"]
    assert len(observer.outcomes) == 2


def test_timeouts_leave_the_queue():
    """A wait that ends in vain raises, and its place in the queue is free again."""
    limit = Limit(["a"], policy=RoundRobin, total=1, queue=1)
    with limit.pick():
        with pytest.raises(NoEligibleEndpointError, match="within"):
            limit.acquire(timeout=0.0)
        ticket = limit.enqueue()
        with pytest.raises(NoEligibleEndpointError, match="wait already"):
            limit.acquire()
        assert ticket.cancel()
        with pytest.raises(ValueError, match="timeout"):
            limit.acquire(timeout=-1.0)
        with pytest.raises(TypeError):
            limit.acquire(exclude="a")
    limit.update([])
    with pytest.raises(NoEndpointError):
        limit.acquire()


def test_a_dropped_lease_makes_room():
    """An abandoned lease is found by the next pick, and its place given on."""
    limit = Limit(["a"], policy=RoundRobin, total=1)
    limit.pick()
    with pytest.warns(ResourceWarning):
        pick = limit.pick()
    pick.done()


def test_a_nested_limit_wakes_whoever_watches_the_root():
    """``changed`` of the outermost level is called when an inner limit has room again."""
    balancer = Priority(
        [Endpoint("a"), Endpoint("b", priority=1)],
        policy=lambda e: Limit(e, policy=RoundRobin, per_endpoint=1),
    )
    calls: list[int] = []
    balancer.changed(lambda: calls.append(1))
    one, two = balancer.pick(), balancer.pick()
    assert {one.endpoint.id, two.endpoint.id} == {"a", "b"}
    one.done()
    assert calls == [1]  # the first tier had refused the second pick
    one = balancer.pick()
    assert one.endpoint.id == "a"
    with pytest.raises(NoEligibleEndpointError):
        balancer.pick()
    calls.clear()
    two.done()
    assert calls == [1]
    one.done()
    inner = balancer._branches["0"].child
    assert isinstance(inner, Limit)
    with pytest.raises(RuntimeError, match="outermost"):
        inner.acquire()


def test_capacity_is_used_wherever_it_is():
    """Nobody is refused while any eligible place of any tier has room, and then all are."""
    members = [Endpoint(f"{t}{i}", priority=t) for t in range(3) for i in range(2)]
    balancer = Priority(
        members, policy=lambda e: Limit(e, policy=RoundRobin, per_endpoint=2, total=3)
    )
    held = [balancer.pick() for _ in range(9)]
    assert [pick.endpoint.priority for pick in held] == [0] * 3 + [1] * 3 + [2] * 3
    with pytest.raises(NoEligibleEndpointError):
        balancer.pick()
    for pick in held:
        pick.done()
    balancer._check()


def test_caps_by_endpoint():
    """``per_endpoint`` may be a function, and is asked again when the membership changes."""
    limit = Limit(
        [Endpoint("a", weight=2.0), Endpoint("b")],
        policy=RoundRobin,
        per_endpoint=lambda endpoint: int(endpoint.weight),
    )
    held = [limit.pick() for _ in range(3)]
    assert sorted(pick.endpoint.id for pick in held) == ["a", "a", "b"]
    with pytest.raises(NoEligibleEndpointError):
        limit.pick()
    limit.update([Endpoint("a", weight=2.0), Endpoint("b", weight=2.0)])
    held.append(limit.pick())
    assert held[-1].endpoint.id == "b"
    with pytest.raises(ValueError, match="per_endpoint of 'b'"):
        limit.update([Endpoint("b", weight=0.5)])
    for pick in held:
        pick.done()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({}, ValueError),
        ({"total": 0}, ValueError),
        ({"total": 1.0}, TypeError),
        ({"per_endpoint": 0}, ValueError),
        ({"per_endpoint": True}, TypeError),
        ({"total": 1, "queue": -1}, ValueError),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception]):
    """Options out of range raise at once."""
    with pytest.raises(error):
        Limit(["a"], policy=RoundRobin, **options)


# -- event loops ---------------------------------------------------------------------------------


def test_tasks_wait_their_turn():
    """Fifty tasks through two places: all are served, never more than two at a time."""
    limit = Limit(["a", "b"], policy=RoundRobin, per_endpoint=1, queue=50)
    inside = [0, 0]

    async def work() -> None:
        with await acquire(limit, timeout=30):
            inside[0] += 1
            inside[1] = max(inside)
            await asyncio.sleep(0)
            inside[0] -= 1

    async def main() -> None:
        await asyncio.gather(*(work() for _ in range(50)))

    asyncio.run(main())
    assert inside == [0, 2]
    limit._check()


def test_a_cancelled_task_leaves_no_trace():
    """Cancelled while waiting, it leaves the queue; cancelled once granted, it gives back."""
    limit = Limit(["a"], policy=RoundRobin, total=1, queue=5)

    async def main() -> None:
        held = limit.pick()
        waiting = asyncio.create_task(acquire(limit))
        granted = asyncio.create_task(acquire(limit))
        await asyncio.sleep(0)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
        assert limit.snapshot().details["waiting"] == 1.0
        held.done()  # the other task is granted, and told by the loop later
        granted.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            (await granted).done()
        assert limit.snapshot().details == {"open": 0.0, "full": 0.0, "waiting": 0.0}
        with limit.pick(), pytest.raises(NoEligibleEndpointError, match="within"):
            await acquire(limit, timeout=0.0)
        (await acquire(limit)).done()

    asyncio.run(main())


def test_threads_and_tasks_share_a_queue():
    """A lease settled on a thread wakes a task in a loop of another one."""
    limit = Limit(["a"], policy=RoundRobin, total=1, queue=20)

    def work(index: int) -> None:
        async def visit() -> None:
            for _ in range(15):
                with await acquire(limit, timeout=30):
                    await asyncio.sleep(0)

        if index % 2:
            asyncio.run(visit())
        else:
            for _ in range(15):
                with limit.acquire(timeout=30):
                    pass

    in_threads(6, work)
    assert limit.snapshot().endpoints[0].picks == 90
    limit._check()


def test_sessions_of_many_threads_never_split():
    """First requests of one session at the same moment all go to one endpoint."""
    for round_ in range(10):
        balancer = Sticky([f"e{i}" for i in range(20)], policy=RoundRobin, mode="table")
        seen: list[str] = []

        def work(index: int, balancer: Sticky = balancer, seen: list[str] = seen) -> None:
            for _ in range(10):
                with balancer.pick("session") as pick:
                    seen.append(pick.endpoint.id)

        in_threads(6, work)
        assert len(set(seen)) == 1, round_
