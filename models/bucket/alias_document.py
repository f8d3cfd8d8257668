"""The aliases of one model in a bucket, with their history, shadows, version policy and deleted versions: one object.

All of it is in one object, so that one conditional write changes it as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from models.alias_file import aliases_of, history_of, with_history
from models.alias_target import Target, target_to_json
from models.errors import DataError
from models.shadow_file import ShadowSetting, shadows_of
from models.version_policy import VersionPolicy, policy_of

FORMAT = "axon.aliases"
FORMAT_VERSION = 1
MOST_BYTES = 1 << 20

_TABLES = ("aliases", "history", "shadows")


class AliasDocument:
    """The document of one model, which `models.alias_changes` changes in memory.

    Args:
        name: name of the model, for reasons.
        content: bytes of the object; None if there is none.

    Raises:
        DataError: The content is not such a document.

    Attributes:
        deleted: numbers of deleted versions whose manifests are perhaps still there.
        change: text that the last change alone has; empty for a new document.
    """

    def __init__(self, name: str, content: bytes | None) -> None:
        raw: dict[str, Any] = {} if content is None else _parsed(content)
        self._name = name
        self._tables: dict[str, dict[str, Any]] = {table: raw.get(table, {}) for table in _TABLES}
        self._policy: Any = raw.get("policy")
        self.deleted: set[int] = set(raw.get("deleted", ()))
        self.change: str = raw.get("change", "")

    def aliases(self) -> tuple[dict[str, Target], str | None]:
        """Returns the target by alias, and the reason why the aliases are not valid, or None."""
        return aliases_of(self._tables["aliases"], f"{self._name}/aliases.json")

    def shadows(self) -> tuple[dict[str, ShadowSetting], str | None]:
        """Returns the shadow by alias, and the reason why the shadows are not valid, or None."""
        return shadows_of(self._tables["shadows"], f"{self._name}/aliases.json")

    def policy(self) -> tuple[VersionPolicy | None, str | None]:
        """Returns the version policy, None without one; and the reason why the policy is not valid, or None."""
        return (None, None) if self._policy is None else policy_of(self._policy, f"{self._name}/aliases.json")

    def set_policy(self, policy: VersionPolicy | None) -> None:
        """Sets the version policy; None for no policy."""
        self._policy = None if policy is None else policy.to_json()

    def read_history(self, alias: str) -> list[Target]:
        """Returns what an alias meant before, oldest first."""
        return history_of(self._tables["history"], alias)

    def write_history(self, alias: str, steps: Sequence[Target]) -> None:
        """Sets what an alias meant before, oldest first."""
        self._tables["history"] = with_history(self._tables["history"], alias, steps)

    def write_aliases(self, aliases: Mapping[str, Target]) -> None:
        """Sets all aliases."""
        self._tables["aliases"] = {alias: target_to_json(target) for alias, target in aliases.items()}

    def write_shadows(self, shadows: Mapping[str, ShadowSetting]) -> None:
        """Sets all shadows."""
        self._tables["shadows"] = {alias: shadow.to_json() for alias, shadow in shadows.items()}

    def to_json(self, change: str) -> bytes:
        """Returns the content of the object.

        Args:
            change: text that no other change has.
        """
        policy = {} if self._policy is None else {"policy": self._policy}
        head = {"format": FORMAT, "format_version": FORMAT_VERSION, "change": change}
        return json.dumps({**head, **self._tables, **policy, "deleted": sorted(self.deleted)}, indent=1).encode()


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        raw = json.loads(content)
    except (ValueError, RecursionError):
        raise DataError("is not JSON") from None
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise DataError("is not the document of a model's aliases")
    if type(raw.get("format_version")) is not int or raw["format_version"] > FORMAT_VERSION:
        raise DataError("has a newer format: upgrade Axon to read it")
    deleted = raw.get("deleted", [])
    tables_are_valid = all(isinstance(raw.get(table, {}), dict) for table in _TABLES)
    deleted_are_valid = isinstance(deleted, list) and all(type(version) is int for version in deleted)
    if not tables_are_valid or not deleted_are_valid or not isinstance(raw.get("change", ""), str):
        raise DataError("has a field that is not valid")
    return raw
