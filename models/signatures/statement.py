"""A signed statement: the names and SHA-256 digests of a version's files, in the form of OpenSSF Model Signing 1.0.

The statement is an in-toto Statement v1 with the predicate `https://model_signing/signature/v1.0`. Its one subject is
the version, with the SHA-256 over the digests of all resources, in their order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Self

from models.signatures.refusal import Refused
from models.signatures.strict_json import field, read_strictly

SIGNATURE_FILE = "model.sig"

_STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_PREDICATE_TYPE = "https://model_signing/signature/v1.0"
_ALGORITHM = "sha256"
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True)
class Statement:
    """A statement on the files of one version.

    Attributes:
        subject: name of the version, `name@version`; of a statement by another tool, the name of the folder or file.
        resources: SHA-256 digest by name of the file, as 64 hexadecimal digits.
    """

    subject: str
    resources: Mapping[str, str]

    def to_json(self) -> bytes:
        """Returns the statement as JSON. The same statement gives the same bytes."""
        resources = [
            {"name": name, "algorithm": _ALGORITHM, "digest": digest} for name, digest in sorted(self.resources.items())
        ]
        document = {
            "_type": _STATEMENT_TYPE,
            "subject": [{"name": self.subject, "digest": {_ALGORITHM: _root(resources)}}],
            "predicateType": _PREDICATE_TYPE,
            "predicate": {
                "serialization": {
                    "method": "files",
                    "hash_type": _ALGORITHM,
                    "allow_symlinks": False,
                    "ignore_paths": [SIGNATURE_FILE],
                },
                "resources": resources,
            },
        }
        return json.dumps(document, sort_keys=True, indent=1).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Reads a statement.

        Raises:
            Refused: The text is not a statement of the one kind that this class knows.
        """
        document = read_strictly(text)
        if (kind := field(document, "_type", str)) != _STATEMENT_TYPE:
            raise Refused(f"is of type {kind[:80]!r}, not {_STATEMENT_TYPE}")
        if (kind := field(document, "predicateType", str)) != _PREDICATE_TYPE:
            raise Refused(f"has a predicate of type {kind[:80]!r}, not {_PREDICATE_TYPE}")
        predicate = field(document, "predicate", dict)
        serialization = field(predicate, "serialization", dict)
        method, hash_type = field(serialization, "method", str), field(serialization, "hash_type", str)
        if (method, hash_type) != ("files", _ALGORITHM):
            raise Refused(f"lists {method[:20]!r} by {hash_type[:20]!r}, where only 'files' by 'sha256' are known")
        resources = field(predicate, "resources", list)
        digests = _digests(resources)
        subjects = field(document, "subject", list)
        if len(subjects) != 1:
            raise Refused(f"has {len(subjects)} subjects, not one")
        if field(field(subjects[0], "digest", dict), _ALGORITHM, str) != _root(resources):
            raise Refused("contradicts itself: the digest of its subject is not that of its resources")
        return cls(field(subjects[0], "name", str), digests)


def _digests(resources: Sequence[Any]) -> dict[str, str]:
    """Returns the digests of resources by name.

    Raises:
        Refused: A resource has no name, a name occurs twice, or a digest is not SHA-256.
    """
    digests: dict[str, str] = {}
    for resource in resources:
        name, algorithm = field(resource, "name", str), field(resource, "algorithm", str)
        if algorithm != _ALGORITHM:
            raise Refused(f"has a digest of {name[:80]!r} by {algorithm[:20]!r}, where only 'sha256' is known")
        digest = field(resource, "digest", str)
        if not _DIGEST.fullmatch(digest):
            raise Refused(f"has a digest of {name[:80]!r} that is not 64 hexadecimal digits")
        if name in digests:
            raise Refused(f"lists {name[:80]!r} twice")
        digests[name] = digest
    return digests


def _root(resources: Sequence[Any]) -> str:
    """Returns the SHA-256 over the digests of all resources, in order."""
    return sha256(b"".join(bytes.fromhex(resource["digest"]) for resource in resources)).hexdigest()
