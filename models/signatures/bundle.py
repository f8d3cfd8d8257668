"""A signature bundle: a Sigstore bundle 0.3 with a DSSE envelope around a statement, signed by a key.

What is signed is DSSE's pre-authentication encoding of the payload, so the envelope needs no canonical form. Bundles
with certificates, and entries of transparency logs, are for Sigstore's own tools.

Source: github.com/secure-systems-lab/dsse, protocol.md, v1.0; docs.sigstore.dev/about/bundle.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence

from models.signatures.keys import PrivateKey, PublicKey
from models.signatures.refusal import Refused
from models.signatures.statement import Statement
from models.signatures.strict_json import field, read_strictly

_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_SHOWN = 16  # digits of a fingerprint in messages


def sign_statement(statement: Statement, key: PrivateKey) -> bytes:
    """Returns the bundle of a statement, signed by a key, as JSON."""
    payload = statement.to_json()
    document = {
        "mediaType": _MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": key.public.fingerprint}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": _PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(key.sign(_encoded(payload))).decode(), "keyid": ""}],
        },
    }
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def open_bundle(text: bytes, keys: Sequence[PublicKey]) -> tuple[Statement, PublicKey]:
    """Verifies a bundle, and returns the statement and the key that signed.

    Nothing of the statement is read before the signature is verified.

    Args:
        text: JSON text of the bundle.
        keys: trusted keys.

    Raises:
        Refused: The bundle is malformed, signed by no trusted key, or altered.
    """
    document = read_strictly(text)
    if (kind := field(document, "mediaType", str)) != _MEDIA_TYPE:
        raise Refused(f"is of type {kind[:80]!r}, not {_MEDIA_TYPE}")
    envelope = field(document, "dsseEnvelope", dict)
    if (kind := field(envelope, "payloadType", str)) != _PAYLOAD_TYPE:
        raise Refused(f"has a payload of type {kind[:80]!r}, not {_PAYLOAD_TYPE}")
    signatures = field(envelope, "signatures", list)
    if len(signatures) != 1:
        raise Refused(f"has {len(signatures)} signatures, not one")
    payload = _decoded(field(envelope, "payload", str))
    signature = _decoded(field(signatures[0], "sig", str))
    hint = _hint(field(document, "verificationMaterial", dict))
    named = [key for key in keys if hint in (None, key.fingerprint)]
    if not named:
        raise Refused(f"is by a key that is not trusted ({hint:.{_SHOWN}}…)")
    for key in named:
        if key.verifies(signature, _encoded(payload)):
            return Statement.from_json(payload), key
    if hint is None:
        raise Refused("was altered, or is by a key that is not trusted")
    raise Refused(f"was altered: the key that it names ({hint:.{_SHOWN}}…) did not sign its content")


def _hint(material: dict[str, object]) -> str | None:
    """Returns the fingerprint of the key that a bundle names; None for a bundle of an older tool, which names none."""
    if "publicKey" not in material:
        raise Refused("is by a certificate, where only signatures by a key are known")
    key = field(material, "publicKey", dict)
    if key.get("hint") is None:
        return None
    return field(key, "hint", str) or None


def _encoded(payload: bytes) -> bytes:
    """Returns DSSE's pre-authentication encoding of a payload."""
    return f"DSSEv1 {len(_PAYLOAD_TYPE)} {_PAYLOAD_TYPE} {len(payload)} ".encode() + payload


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused("is not in base64") from error
