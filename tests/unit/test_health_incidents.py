"""What an endpoint gone bad costs, beside models of the default rules of Envoy and nginx."""

import importlib.util
import sys
from types import ModuleType

import pytest
from source_tree import ROOT


@pytest.fixture(scope="module")
def incidents() -> ModuleType:
    """benchmarks/incidents.py, loaded by its path: the root is not on the path of the tests."""
    path = ROOT / "benchmarks" / "incidents.py"
    spec = importlib.util.spec_from_file_location("incidents", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["incidents"] = module  # its dataclass looks itself up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("fault", "most"),
    [
        # 4 to find it, then one each at about 10, 30 and 70 s.
        ("dead, refuses in 1 ms", 8),
        # Nineteen requests on average, and those under way when it is found.
        ("fails 30 % in 100 ms", 40),
    ],
)
def test_fewer_requests_to_a_bad_endpoint_than_by_other_rules(
    incidents: ModuleType, fault: str, most: int
) -> None:
    """A minute of a bad endpoint: fewer failures than under Envoy's, and nobody else is ejected.

    nginx's rule finds a bad endpoint as soon; it ejects those that are well all the time.
    """
    bad = incidents.FAULTS[fault]
    ours, envoy, nginx = (
        incidents.replay(bad, incidents.RULES[name], bad_for=60.0)
        for name in ("balancers", "Envoy", "nginx")
    )

    assert ours.failed <= most
    assert 5 * ours.failed < envoy.failed
    assert ours.failed <= nginx.failed + 20
    assert ours.innocent == 0 < envoy.innocent < nginx.innocent
    assert 400 <= ours.back <= 800  # a tenth of 6,000: it is back at full share


def test_models_of_the_others(incidents: ModuleType) -> None:
    """Envoy: five in a row, 30 s to the next interval, capped; nginx: one, then one that tries."""
    names = [f"e{i}" for i in range(10)]
    envoy = incidents.Envoy(names)
    for _ in range(4):
        envoy.ended("e0", False, 1.0)
    assert envoy.out(1.0) == set()
    for name in ("e0", "e1", "e1", "e1", "e1", "e1"):
        envoy.ended(name, False, 1.0)
    assert envoy.out(39.9) == {"e0"}  # the second would be over 10 %
    assert envoy.out(40.0) == set()
    five = incidents.Envoy(list("abcde"), 20.0)
    for name, share in zip("abcde", (2, 1, 1, 1, 1), strict=True):  # 50 % and four times 100 %
        for i in range(100):
            five.ended(name, i % share == 0, 1.0)
    assert five.out(9.9) == set()
    assert five.out(10.0) == {"a"}  # below 52 %

    nginx = incidents.Nginx(["a", "b"])
    nginx.ended("a", False, 0.0)
    assert nginx.out(10.0) == {"a"}
    assert nginx.out(10.5) == set()
    nginx.picked("a", 10.5)
    assert nginx.out(11.0) == {"a"}  # one request tries
    nginx.ended("a", True, 11.0)
    assert nginx.out(11.0) == set()
    nginx.ended("a", False, 12.0)
    nginx.ended("b", False, 12.0)
    assert nginx.out(12.0) == set()  # nobody left: all are tried
