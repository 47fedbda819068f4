"""What an endpoint gone bad costs, beside the default rules of Envoy and nginx."""

import pytest
from health_incidents import FAULTS, RULES, replay


@pytest.mark.parametrize(
    ("fault", "most"),
    [
        # 4 to find it, then one each at about 10, 30 and 70 s.
        ("dead, refuses in 1 ms", 8),
        # Nineteen requests on average, and those under way when it is found.
        ("fails 30 % in 100 ms", 40),
    ],
)
def test_fewer_requests_to_a_bad_endpoint_than_under_envoys_rules(fault: str, most: int) -> None:
    """Two minutes of a bad endpoint cost a handful of requests; nobody else is ejected."""
    ours = replay(FAULTS[fault], RULES["balancers"])
    envoy = replay(FAULTS[fault], RULES["Envoy"])

    assert ours.failed <= most
    assert 10 * ours.failed < envoy.failed
    assert ours.innocent == 0
    assert 400 <= ours.back <= 800  # a tenth of 6,000: it is back at full share


def test_nobody_is_ejected_for_background_errors() -> None:
    """At 0.1 % errors everywhere, four minutes: none by ours, some by Envoy's, many by nginx's."""
    tolls = {
        name: replay(FAULTS["nothing"], RULES[name]) for name in ("balancers", "Envoy", "nginx")
    }

    assert tolls["balancers"].innocent == 0
    assert 0 < tolls["Envoy"].innocent < tolls["nginx"].innocent
