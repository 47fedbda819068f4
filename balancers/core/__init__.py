"""The base that policies share, and all that a policy of your own needs.

``Policy`` is the class to extend; ``View`` is what it is handed, ``Cell`` what it returns.
"""

from balancers.core.ledger import Cell
from balancers.core.policy import Policy
from balancers.core.view import View

__all__ = ["Cell", "Policy", "View"]
