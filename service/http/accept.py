"""The choice of the answer's media type by the `Accept` header of a request (RFC 9110, 12.5.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from service.errors import NotAcceptable

_MAX_KNOWN = 256
_MAX_SHOWN = 100
_RANGE = re.compile(r"\s*([\w!#$&^.+*'`|~%-]+)/([\w!#$&^.+*'`|~%-]+)\s*(?:;(.*))?", re.ASCII | re.DOTALL)
_WEIGHT = re.compile(r"(?:^|;)\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*(?:;|$)", re.ASCII | re.IGNORECASE)


class MediaTypes:
    """The media types in which answers are written.

    Args:
        offered: media types; the first is sent if a client accepts any.
    """

    def __init__(self, offered: Sequence[str]) -> None:
        self._offered = tuple(offered)
        self._known: dict[bytes, int] = {}

    def choose(self, accept: bytes) -> int:
        """Returns the position of the media type that a client prefers.

        A type that the header names counts as more wanted than one that only a wildcard admits, if both have the same
        weight. Of two that are named, the first is taken. A header without a valid media range counts as absent.

        Args:
            accept: value of the header; several lines are joined by a line feed.

        Raises:
            NotAcceptable: the client accepts none of the media types.
        """
        known = self._known.get(accept)
        if known is not None:
            return known
        chosen = self._chosen(accept.decode("latin-1"))
        if len(self._known) < _MAX_KNOWN:
            self._known[accept] = chosen
        return chosen

    def _chosen(self, accept: str) -> int:
        ranges = list(media_ranges(accept))
        if not ranges:
            return 0
        best: tuple[float, int, int] | None = None
        place = 0
        for i, offered in enumerate(self._offered):
            matches = [
                (precision, weight, -at)
                for at, (wanted, weight) in enumerate(ranges)
                if (precision := _precision(wanted, offered))
            ]
            if not matches:
                continue
            precision, weight, order = max(matches, key=lambda match: match[0])  # the most precise range decides
            rank = weight, precision, order if precision == _EXACT else 0
            if weight > 0 and (best is None or rank > best):
                best, place = rank, i
        if best is None:
            raise NotAcceptable(
                f"Answers are {_listed(self._offered)}, and the request accepts {accept[:_MAX_SHOWN]!r}."
            )
        return place


_EXACT = 3


def _precision(wanted: str, offered: str) -> int:
    """Returns how precisely a media range names a type: 3 by its name, 2 by `type/*`, 1 by `*/*`, 0 not at all."""
    if wanted == offered:
        return _EXACT
    if wanted == f"{offered.partition('/')[0]}/*":
        return 2
    return int(wanted == "*/*")


def media_ranges(accept: str) -> Iterator[tuple[str, float]]:
    """Yields the media ranges of a header in lower case, with their weights; passes over what is not a media range.

    Args:
        accept: value of the header; several lines are joined by a line feed.
    """
    for item in re.split(r"[,\n]", accept):
        found = _RANGE.fullmatch(item)
        if found is not None:
            weight = _WEIGHT.search(found[3] or "")
            yield f"{found[1]}/{found[2]}".lower(), 1.0 if weight is None else float(weight[1])


def _listed(types: Sequence[str]) -> str:
    return f"{', '.join(types[:-1])} or {types[-1]}"
