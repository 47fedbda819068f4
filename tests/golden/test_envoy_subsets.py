"""Envoy's metadata subsets: the worked example of its docs, and each rule of fallback.

Source: envoyproxy/envoy, docs/root/intro/arch_overview/upstream/load_balancing/subsets.rst.
"""

from typing import Any

import pytest
from compose_models import Ward

from balancers import (
    Endpoint,
    InvalidEndpointError,
    LeastConnections,
    NoEligibleEndpointError,
    RoundRobin,
    Sticky,
)
from balancers.compose import MetadataSubset, Selector

HOSTS = [
    Endpoint("host1", metadata={"v": "1.0", "stage": "prod"}),
    Endpoint("host2", metadata={"v": "1.0", "stage": "prod"}),
    Endpoint("host3", metadata={"v": "1.1", "stage": "canary"}),
    Endpoint("host4", metadata={"v": "1.2-pre", "stage": "dev"}),
]


def read(key: str) -> dict[str, str] | None:
    """Read criteria off a key: "stage=prod,v=1.0"."""
    return dict(pair.split("=") for pair in key.split(",")) if key else None


def subsets(**options: Any) -> MetadataSubset:
    """Return the example of the docs."""
    options = {
        "policy": RoundRobin,
        "selectors": [["v", "stage"], Selector(["stage"], fallback="none")],
        "match": read,
        "fallback": "default",
        "default": {"stage": "prod"},
        **options,
    }
    return MetadataSubset(HOSTS, **options)


def balanced(balancer: MetadataSubset, key: str | None) -> set[str]:
    """Return who is picked for some criteria."""
    found = set()
    for _ in range(8):
        try:
            with balancer.pick(key) as pick:
                found.add(pick.endpoint.id)
        except NoEligibleEndpointError:
            return set()
    return found


@pytest.mark.parametrize(
    ("criteria", "hosts"),
    [
        ("stage=canary", {"host3"}),
        ("v=1.2-pre,stage=dev", {"host4"}),
        ("v=1.0", {"host1", "host2"}),
        ("other=x", {"host1", "host2"}),
        (None, {"host1", "host2"}),
        ("stage=test", set()),
    ],
)
def test_the_documented_example(criteria: str | None, hosts: set[str]):
    """Each row of the table of the docs."""
    assert balanced(subsets(), criteria) == hosts


def test_fallbacks():
    """Nobody, anybody, fewer keys; a selector's own rule before the balancer's."""
    nobody = subsets(selectors=[["stage"]], fallback="none", default=None)
    assert balanced(nobody, "v=1.0") == set()
    assert balanced(nobody, None) == set()
    assert balanced(nobody, "stage=dev") == {"host4"}
    anybody = subsets(selectors=[["stage"]], fallback="any", default=None)
    assert balanced(anybody, "stage=test") == {"host1", "host2", "host3", "host4"}
    fewer = subsets(
        selectors=[Selector(["v", "stage"], "keys", ["stage"]), Selector(["stage"], "any")],
        fallback="none",
        default=None,
    )
    assert balanced(fewer, "v=9,stage=canary") == {"host3"}
    assert balanced(fewer, "v=9,stage=none") == {"host1", "host2", "host3", "host4"}
    assert balanced(fewer, "v=9") == set()


def test_a_sick_subset_is_no_reason_to_fall_back():
    """Its endpoints are there, if not well: the request fails rather than go elsewhere."""
    ward = Ward()
    balancer = subsets(health=ward.registry, panic_threshold=0.0)
    ward.down("host3")
    assert balanced(balancer, "stage=canary") == set()
    ward.up("host3")
    assert balanced(balancer, "stage=canary") == {"host3"}


def test_structured_values():
    """Lists and mappings are compared by what they hold."""
    members = [
        Endpoint("a", metadata={"tags": ["x", {"y": [1]}]}),
        Endpoint("b", metadata={"tags": ["x"]}),
    ]
    balancer = MetadataSubset(
        members,
        policy=RoundRobin,
        selectors=[["tags"]],
        match=lambda key: {"tags": ["x", {"y": [1]}]},
    )
    assert balanced(balancer, "k") == {"a"}
    with pytest.raises(InvalidEndpointError, match="hashable"):
        balancer.update([Endpoint("c", metadata={"tags": bytearray(b"x")})])


def test_overlapping_subsets_share_their_load():
    """Leases through one subset count in every other: least connections stays exact."""
    members = [Endpoint(n, metadata={"all": 1, "own": n}) for n in "ab"]
    balancer = MetadataSubset(
        members,
        policy=LeastConnections,
        selectors=[["all"], ["own"]],
        match=lambda key: {"all": 1} if key == "*" else {"own": key},
    )
    held = [balancer.pick("a") for _ in range(3)]
    others = [balancer.pick("*") for _ in range(3)]
    assert [pick.endpoint.id for pick in others] == ["b"] * 3
    for pick in held:
        pick.done()
    with balancer.pick("*") as pick, balancer.pick("*") as second:
        assert {pick.endpoint.id, second.endpoint.id} == {"a"}
    for pick in others:
        pick.done()
    assert {cell.tell is not None for cell in balancer._ledger.cells.values()} == {True}
    balancer.update([Endpoint("a", metadata={"own": "a"})])
    assert len(balancer._ledger.cells["a"].tellers) == 1


def test_what_is_said_of_them():
    """The path names the subset; everybody else was not considered; sessions stay inside."""
    balancer = subsets()
    said = balancer.explain("v=1.0,stage=prod")
    assert said.path == ("MetadataSubset[stage=prod, v=1.0]", "RoundRobin")
    assert balancer.snapshot().details == {"subsets": 6.0}
    sticky = Sticky(
        HOSTS,
        policy=lambda e: MetadataSubset(e, policy=RoundRobin, selectors=[["stage"]], match=read),
        mode="header",
        parse=lambda key: tuple(key.split("|")),
    )
    with sticky.pick("host2|stage=prod") as pick:
        assert pick.endpoint.id == "host2"
    with sticky.pick("host2|stage=dev") as pick:
        assert pick.endpoint.id == "host4"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"match": None}, TypeError),
        ({"selectors": ["stage"]}, TypeError),
        ({"selectors": [[]]}, ValueError),
        ({"selectors": [[1]]}, TypeError),
        ({"selectors": [["a", "b"], ["b", "a"]]}, ValueError),
        ({"fallback": "some"}, ValueError),
        ({"default": None}, ValueError),
        ({"fallback": "any"}, ValueError),
        ({"default": ["stage"]}, TypeError),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception]):
    """Options out of range, or that nothing uses, raise at once."""
    with pytest.raises(error):
        subsets(**options)


@pytest.mark.parametrize(
    "arguments",
    [(["a"], "keys"), (["a"], "keys", ["a"]), (["a"], "any", ["b"]), (["a", "b"], "keys", ["c"])],
)
def test_bad_selectors(arguments: tuple[Any, ...]):
    """Fewer keys must be fewer of the same."""
    with pytest.raises(ValueError, match="fallback_keys"):
        Selector(*arguments)
