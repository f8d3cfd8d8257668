"""The choice of a version for each request to an alias that is split among versions by weight."""

from __future__ import annotations

import math
import random
from collections.abc import Collection
from hashlib import blake2b
from itertools import accumulate

from models.alias_target import Split

STICKY_HEADER = b"x-axon-sticky"

_GOLDEN = (math.sqrt(5) - 1) / 2
_HASHES = 2.0**64


class VersionChoice:
    """A chooser of versions for one alias of one model.

    A request with a sticky value gets the version with the largest score (weighted rendezvous hashing). So one value
    gets one version in each process, and if weights change, only the necessary share of the values moves. The other
    requests get versions by a sequence whose shares are exact in the long run: multiples of the golden ratio, modulo 1.

    Args:
        name: name of the model.
        alias: alias that is split.
        split: weights of the versions.
        ready: versions that can answer; the others' shares go to these in proportion to the weights.

    Attributes:
        split: weights of the versions.
        versions: versions that get requests.
        lead: version with the largest weight among these; None if there are none.
        lead_id: id of this version; empty if there are none.
    """

    def __init__(self, name: str, alias: str, split: Split, ready: Collection[int]) -> None:
        self.split = split
        parts = [(version, float(weight)) for version, weight in split.weights if weight and version in ready]
        self.versions = tuple(version for version, _ in parts)
        self.lead = max(parts, key=lambda part: (part[1], part[0]))[0] if parts else None
        self.lead_id = "" if self.lead is None else f"{name}@{self.lead}"
        total = sum(weight for _, weight in parts)
        ids = [f"{name}@{version}" for version, _ in parts]
        bounds = accumulate(weight / total for _, weight in parts)
        self._until = list(zip(ids, bounds, strict=True))
        self._hashes = [
            (id_, weight, blake2b(f"{name}@{alias}\0{version}\0".encode(), digest_size=8))
            for id_, (version, weight) in zip(ids, parts, strict=True)
        ]
        # At random, so that processes do not march in step.
        self._at = random.random()  # noqa: S311  # nosec B311

    def choose(self, sticky: bytes | None) -> str:
        """Returns the id, `name@version`, for a request.

        Args:
            sticky: value of the sticky header; None or empty for a request without one.
        """
        if sticky:
            return self._by_hash(sticky)
        at = self._at + _GOLDEN
        self._at = at = at - 1 if at >= 1 else at
        for id_, until in self._until:
            if at < until:
                return id_
        return self._until[-1][0]  # the last bound may be a rounding error below 1

    def take_back(self, sticky: bytes | None) -> None:
        """Takes the last choice back, so that the next one without a sticky value is the same.

        Args:
            sticky: value that the choice was made for.
        """
        if not sticky:
            at = self._at - _GOLDEN
            self._at = at + 1 if at < 0 else at

    def _by_hash(self, sticky: bytes) -> str:
        best, highest = "", -1.0
        for id_, weight, salted in self._hashes:
            digest = salted.copy()
            digest.update(sticky)
            uniform = (int.from_bytes(digest.digest(), "big") + 1) / (_HASHES + 2)
            score = weight / -math.log(uniform)
            if score > highest:
                best, highest = id_, score
        return best
