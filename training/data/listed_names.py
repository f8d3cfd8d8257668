"""A list of names in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

_LISTED = 5


def listed_names(names: Sequence[str]) -> str:
    """Lists names for a sentence: `'rent', 'sold' and 'cost'`; of many, the first few and the number of others."""
    shown = [repr(name) for name in names]
    if len(shown) == 1:
        return shown[0]
    if len(shown) > _LISTED:
        return f"{', '.join(shown[: _LISTED - 1])} and {len(shown) - _LISTED + 1:,} more"
    return f"{', '.join(shown[:-1])} and {shown[-1]}"
