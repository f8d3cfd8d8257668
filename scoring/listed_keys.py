"""The choice of keys from a listing, by the rules of files on a disk: hidden names, patterns, and lakes' old rows."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from typing import TypeVar

from training.data.folder_files import ICEBERG, LAKES, is_hidden, old_rows

Listed = TypeVar("Listed")


def shown_keys(listed: Iterable[tuple[str, Listed]], pattern: str | None, root: str) -> list[tuple[str, Listed]]:
    """Returns the keys that a folder or a pattern means, in the order of files on a disk.

    Args:
        listed: keys below the root, each with what goes with the key.
        pattern: pattern of keys below the root; None for all keys.
        root: URL of the root, for messages.

    Raises:
        DataError: keys lie in the folder of a table whose format keeps deleted rows among its files.
    """
    parts = None if pattern is None else [_Segment(part) for part in pattern.split("/")]
    chosen: list[tuple[list[str], str, Listed]] = []
    lakes: dict[tuple[str, ...], str] = {}
    for key, item in listed:
        segments = key.split("/")
        _mark_lake(segments, lakes)
        if any(map(is_hidden, segments)) or (parts is not None and not _matches(segments, parts)):
            continue
        chosen.append((segments, key, item))
    for segments, _, _ in chosen:
        for end in range(len(segments)):
            if lakes and (what := lakes.get(tuple(segments[:end]))) is not None:
                folder = "/".join([root.rstrip("/"), *segments[:end]])
                raise old_rows(folder, what)
    return [(key, item) for _, key, item in sorted(chosen, key=lambda one: one[0])]


def _mark_lake(segments: Sequence[str], lakes: dict[tuple[str, ...], str]) -> None:
    for place, segment in enumerate(segments[:-1]):
        if segment in LAKES:
            lakes[tuple(segments[:place])] = LAKES[segment]
    if len(segments) > 1 and segments[-2] == "metadata" and segments[-1].endswith(".metadata.json"):
        lakes[tuple(segments[:-2])] = ICEBERG


class _Segment:
    """A pattern of names between two slashes; `**` stands for any number of names."""

    def __init__(self, pattern: str) -> None:
        self.is_any = pattern == "**"
        self._takes_dots = pattern.startswith(".")
        self._matches = re.compile(fnmatch.translate(pattern)).match

    def matches(self, name: str) -> bool:
        """Returns True if a name matches; as in a shell, a wildcard matches no dot at the beginning."""
        return (self._takes_dots or not name.startswith(".")) and self._matches(name) is not None


def _matches(segments: Sequence[str], pattern: Sequence[_Segment]) -> bool:
    """Returns True if a key, or a folder that the key lies in, matches. A folder stands for all that lies below."""
    if not pattern:
        return True
    first, rest = pattern[0], pattern[1:]
    if first.is_any:
        # Folders match `**`, and so does nothing; `**` at the end takes all that is left.
        return not rest or any(_matches(segments[skipped:], rest) for skipped in range(len(segments)))
    return bool(segments) and first.matches(segments[0]) and _matches(segments[1:], rest)
