"""Waiting for room in an event loop: ``Limit.acquire`` without blocking the thread.

The queue is the ``Limit``'s own; threads and tasks wait in it side by side, first come first
served, whichever loop they are in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from balancers import Key, Limit, NoEligibleEndpointError, Pick

__all__ = ["acquire"]


async def acquire(
    limit: Limit,
    key: Key | None = None,
    *,
    exclude: Collection[str] = (),
    cost: float = 1.0,
    timeout: float | None = None,
) -> Pick:
    """Lease one endpoint of a ``Limit``, waiting for room if need be.

    A task that is cancelled leaves the queue; a lease it had been given meanwhile is settled as
    CANCELLED.

    Args:
        limit: The outermost balancer of its tree.
        key: As in ``pick``.
        exclude: As in ``pick``.
        cost: As in ``pick``.
        timeout: Seconds to wait at most, ≥ 0; None: as long as it takes.

    Raises:
        NoEligibleEndpointError: The queue is full, or the time is up.
        NoEndpointError: The membership is empty.
    """
    ticket = limit.enqueue(key, exclude=exclude, cost=cost)
    if ticket.pick is None:
        loop = asyncio.get_running_loop()
        granted = loop.create_future()

        def wake() -> None:
            if not granted.done():
                granted.set_result(None)

        # The pick may be granted by any thread.
        ticket.then(lambda: loop.call_soon_threadsafe(wake))
        try:
            await asyncio.wait_for(granted, timeout)
        except TimeoutError:
            if ticket.cancel():
                raise NoEligibleEndpointError(f"no room within {timeout} s") from None
        except BaseException:
            ticket.abandon()
            raise
    assert ticket.pick is not None
    return ticket.pick
