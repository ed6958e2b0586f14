"""What the requests of an organization usually cost.

Callers ask for many more tokens than they get: who is charged for what they asked until the answer
is whole would have to wait for it.
"""

from __future__ import annotations

from collections import OrderedDict

KEPT = 10_000
"""Organizations: the one that was seen first goes for a newer one."""
WEIGHT = 0.1
"""Of the latest request."""


class Usual:
    def __init__(self) -> None:
        self._costs: OrderedDict[str, float] = OrderedDict()

    def note(self, organization: str, cost: float) -> None:
        """A request took `cost` tokens."""
        usual = self._costs.get(organization)
        if usual is None:
            self._costs[organization] = cost
            if len(self._costs) > KEPT:
                self._costs.popitem(last=False)
        else:
            self._costs[organization] = usual + WEIGHT * (cost - usual)

    def cost(self, organization: str, most: float) -> float:
        """Of a request that may take `most`."""
        return max(1.0, min(most, self._costs.get(organization, most)))
