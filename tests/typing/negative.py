"""What a type checker must refuse.

Each ignore names the one error expected on its line, for mypy and for pyright. Both fail if it
does not occur: mypy by ``warn_unused_ignores``, pyright by the setting below.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from balancers import Endpoint, Outcome, RoundRobin

endpoint = Endpoint("a")
balancer = RoundRobin([endpoint])

Endpoint(1)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
Endpoint("a", 2.0)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
Endpoint("a", weight="2")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
endpoint.weight = 2.0  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]
endpoint.metadata["a"] = 1  # type: ignore[index] # pyright: ignore[reportIndexIssue]

RoundRobin([1])  # type: ignore[list-item] # pyright: ignore[reportArgumentType]
RoundRobin(["a"], 0)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
RoundRobin(["a"], phase="0")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
RoundRobin(["a"], vnodes=3)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
RoundRobin(["a"], clock=1.0)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

balancer.pick(1.5)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
balancer.pick("k", {"a"})  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
balancer.pick(cost="1")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
balancer.endpoints = ()  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]
balancer.endpoints.append(endpoint)  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]

pick = balancer.pick()
pick.done("success")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
pick.done(Outcome.SUCCESS, 0.1)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
pick.done(latency="fast")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

for view in balancer.snapshot().endpoints:
    view.in_flight += 1  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]
