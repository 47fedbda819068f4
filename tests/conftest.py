"""Hypothesis profiles, chosen by ``--hypothesis-profile`` or, where ``CI`` is set, by itself.

* ``dev`` (default): fresh random examples at every run, failures remembered.
* ``ci`` (Hypothesis' own): the same examples at every run, so that a red run is a change of
  the code and not of luck.
* ``deep``: 2,000 fresh examples, stateful runs of 200 steps; a session of its own.
"""

import os
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

# Deadlines measure the machine, not the property.
settings.register_profile("dev", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "deep",
    settings.get_profile("dev"),
    max_examples=2_000,
    stateful_step_count=200,
    derandomize=False,
    print_blob=True,
)
if not os.environ.get("CI"):
    settings.load_profile("dev")

# Worker processes import test modules as ``tests.…``. The root comes last on the path, so that
# an installed wheel is found before the working tree.
sys.path.append(str(Path(__file__).parent.parent))
