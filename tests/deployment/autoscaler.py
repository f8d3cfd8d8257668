"""The arithmetic of Kubernetes' horizontal pod autoscaler for external metrics, written from its documentation.

https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/ ("Algorithm details", "Configurable scaling
behavior").
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

_TOLERANCE = 0.1


class Autoscaler:
    """Computes a number of replicas from the values of metrics, again and again.

    Args:
        minimum: least number of replicas.
        maximum: largest number of replicas.
        behavior: field `behavior` of a HorizontalPodAutoscaler.
    """

    def __init__(self, minimum: int, maximum: int, behavior: dict[str, Any]) -> None:
        self._minimum = minimum
        self._maximum = maximum
        self._behavior = behavior
        self._recommended: list[tuple[float, int]] = []
        self._changes: list[tuple[float, int]] = []

    def decide(self, now: float, replicas: int, metrics: Iterable[tuple[str, float, float]]) -> int:
        """Returns the next number of replicas.

        Args:
            now: time in seconds.
            replicas: number of replicas at present.
            metrics: kind of the target (`AverageValue` or `Value`), value and target of each metric.
        """
        wanted = max(self._proposal(replicas, *metric) for metric in metrics)
        wanted = min(max(wanted, self._minimum), self._maximum)
        self._recommended.append((now, wanted))
        down, up = self._behavior["scaleDown"], self._behavior["scaleUp"]
        highest = max(self._within(self._recommended, now, down["stabilizationWindowSeconds"]), default=wanted)
        lowest = min(self._within(self._recommended, now, up["stabilizationWindowSeconds"]), default=wanted)
        stabilised = min(max(replicas, lowest), highest) if lowest > replicas or highest < replicas else replicas
        result = stabilised
        if stabilised > replicas:
            result = min(stabilised, self._limit(now, replicas, up, 1))
        elif stabilised < replicas:
            result = max(stabilised, self._limit(now, replicas, down, -1))
        if result != replicas:
            self._changes.append((now, result - replicas))
        return result

    @staticmethod
    def _proposal(replicas: int, kind: str, value: float, target: float) -> int:
        ratio = value / target if kind == "Value" else value / (target * replicas)
        return replicas if abs(ratio - 1) <= _TOLERANCE else math.ceil(ratio * replicas - 1e-9)

    @staticmethod
    def _within(events: list[tuple[float, int]], now: float, seconds: float) -> list[int]:
        return [number for at, number in events if at > now - max(seconds, 1e-9)]

    def _limit(self, now: float, replicas: int, rules: dict[str, Any], sign: int) -> int:
        """Returns the largest (or, for `sign` -1, the least) number that the policies allow now."""
        limits = []
        for policy in rules["policies"]:
            changed = sum(n for n in self._within(self._changes, now, policy["periodSeconds"]) if n * sign > 0)
            begin = replicas - changed
            step = policy["value"] if policy["type"] == "Pods" else begin * policy["value"] / 100
            limits.append(math.ceil(begin + step) if sign > 0 else int(begin - step))
        return max(limits) if sign > 0 else min(limits)
