"""Signatures are refused, each for its reason, if key, signature, statement, place or file was changed.

The bundles are built here from the specifications, with `cryptography` alone: none of Axon's writing code takes part.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from models.errors import SignatureError
from models.signatures.keys import PublicKey
from models.signatures.trust import Signed, Trust

PAYLOAD = b"the bytes of a checkpoint"
PATH = Path("store/iris/3/model.safetensors")
KEYS = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
PAYLOAD_TYPE = "application/vnd.in-toto+json"

Document = dict[str, Any]


def pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def statement(*, subject: str = "iris@3", resources: list[Document] | None = None) -> Document:
    listed = resources or [{"name": "model.safetensors", "algorithm": "sha256", "digest": sha256(PAYLOAD)}]
    root = sha256(b"".join(bytes.fromhex(resource["digest"]) for resource in listed))
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": subject, "digest": {"sha256": root}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
            "resources": listed,
        },
    }


def envelope(
    payload: bytes, key: ec.EllipticCurvePrivateKey = KEYS[0], algorithm: hashes.HashAlgorithm | None = None
) -> Document:
    """Returns a bundle of a payload, as the specifications of DSSE and Sigstore describe."""
    signed = b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)
    signature = key.sign(signed, ec.ECDSA(algorithm or hashes.SHA256()))
    return {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": sha256(pem_of(key))}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }


def bundle(document: Document) -> Document:
    return envelope(json.dumps(document).encode())


def verify(made: Document | bytes, *, version: str = "iris@3", payload: bytes = PAYLOAD, path: Path = PATH) -> Signed:
    trust = Trust((PublicKey(pem_of(KEYS[0])),))
    return trust.verify(path, version, payload, made if isinstance(made, bytes) else json.dumps(made).encode())


def test_a_sound_signature_tells_the_files_and_the_key() -> None:
    card = {"name": "README.md", "algorithm": "sha256", "digest": sha256(b"card")}
    weights = {"name": "model.safetensors", "algorithm": "sha256", "digest": sha256(PAYLOAD)}
    signed = verify(bundle(statement(resources=[card, weights])))
    assert signed.resources == {"README.md": sha256(b"card"), "model.safetensors": sha256(PAYLOAD)}
    assert signed.key.pem == pem_of(KEYS[0])


@pytest.mark.parametrize("subject", ["iris@3", "3", "model.safetensors"])
def test_other_tools_name_the_folder_or_the_file(subject: str) -> None:
    assert verify(bundle(statement(subject=subject))).resources


def test_a_checkpoint_that_another_tool_signed_alone_is_accepted() -> None:
    alone = [{"name": ".", "algorithm": "sha256", "digest": sha256(PAYLOAD)}]
    signed = verify(bundle(statement(subject="model.safetensors", resources=alone)))
    assert signed.resources == {"model.safetensors": sha256(PAYLOAD)}


def test_a_bundle_of_an_older_tool_names_no_key() -> None:
    made = bundle(statement())
    made["verificationMaterial"] = {"publicKey": {"rawBytes": "…", "keyDetails": "PKIX_ECDSA_P256_SHA_256"}}
    assert verify(made).key.pem == pem_of(KEYS[0])
    made["dsseEnvelope"]["signatures"] = envelope(json.dumps(statement()).encode(), KEYS[1])["dsseEnvelope"][
        "signatures"
    ]
    with pytest.raises(SignatureError, match="was altered, or is by a key that is not trusted"):
        verify(made)


@pytest.mark.parametrize(("curve", "algorithm"), [(ec.SECP384R1(), hashes.SHA384()), (ec.SECP521R1(), hashes.SHA512())])
def test_longer_curves_have_longer_digests(curve: ec.EllipticCurve, algorithm: hashes.HashAlgorithm) -> None:
    key = ec.generate_private_key(curve)
    payload = json.dumps(statement()).encode()
    trust = Trust((PublicKey(pem_of(key)),))
    assert trust.verify(PATH, "iris@3", PAYLOAD, json.dumps(envelope(payload, key, algorithm)).encode())
    with pytest.raises(SignatureError, match="did not sign"):
        trust.verify(PATH, "iris@3", PAYLOAD, json.dumps(envelope(payload, key, hashes.SHA256())).encode())


def test_what_is_not_the_signed_file_in_the_signed_place_is_refused() -> None:
    made = bundle(statement())
    with pytest.raises(SignatureError, match="altered after it was signed") as refused:
        verify(made, payload=PAYLOAD[:-1] + b"!")
    assert refused.value.path == PATH
    for version, folder in (("iris@4", "iris/4"), ("fraud@3", "fraud/3")):
        with pytest.raises(SignatureError, match=f"is for 'iris@3', not for {version}"):
            verify(made, version=version, path=Path("store") / folder / "model.safetensors")


def test_a_version_without_signature_is_read_only_where_none_is_required() -> None:
    keys = (PublicKey(pem_of(KEYS[0])),)
    assert Trust(keys, required=False).check(PATH, "iris@3", PAYLOAD, None) is None
    with pytest.raises(SignatureError, match=r"is not signed.*axon sign iris@3"):
        Trust(keys).check(PATH, "iris@3", PAYLOAD, None)
    with pytest.raises(SignatureError, match="is not JSON"):
        Trust(keys, required=False).check(PATH, "iris@3", PAYLOAD, b"")


def changed(*path: str | int, to: Any) -> Callable[[], bytes]:
    """Returns a maker of a bundle whose unsigned part differs at one place; `...` removes the place."""

    def make() -> bytes:
        made: Any = bundle(statement())
        place = made
        for name in path[:-1]:
            place = place[name]
        if to is ...:
            del place[path[-1]]
        else:
            place[path[-1]] = to
        return json.dumps(made).encode()

    return make


def signed_with(*path: str | int, to: Any) -> Callable[[], bytes]:
    """Returns a maker of a bundle that is signed by the trusted key, over a statement that differs at one place."""

    def make() -> bytes:
        made: Any = statement()
        place = made
        for name in path[:-1]:
            place = place[name]
        if to is ...:
            del place[path[-1]]
        else:
            place[path[-1]] = to
        return json.dumps(bundle(made)).encode()

    return make


def signed_resources(*resources: Document) -> Callable[[], bytes]:
    return lambda: json.dumps(bundle(statement(resources=list(resources)))).encode()


def altered_payload() -> bytes:
    made, other = bundle(statement()), json.dumps(statement(subject="fraud@3")).encode()
    made["dsseEnvelope"]["payload"] = base64.b64encode(other).decode()
    return json.dumps(made).encode()


def altered_signature() -> bytes:
    made = bundle(statement())
    made["dsseEnvelope"]["signatures"] = bundle(statement(subject="x"))["dsseEnvelope"]["signatures"]
    return json.dumps(made).encode()


def two_signatures() -> bytes:
    made = bundle(statement())
    made["dsseEnvelope"]["signatures"] *= 2
    return json.dumps(made).encode()


def false_hint() -> bytes:
    made = envelope(json.dumps(statement()).encode(), KEYS[1])
    made["verificationMaterial"]["publicKey"]["hint"] = sha256(pem_of(KEYS[0]))
    return json.dumps(made).encode()


def repeated_key() -> bytes:
    """Returns a bundle, signed by the trusted key, whose statement has two lists of resources."""
    text = json.dumps(statement())
    return json.dumps(envelope(f'{text[:-2]}, "resources": []}}}}'.encode())).encode()


RESOURCE = {"name": "model.safetensors", "algorithm": "sha256", "digest": sha256(PAYLOAD)}
OTHER = {"name": "README.md", "algorithm": "sha256", "digest": sha256(b"card")}
MANY: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "is not JSON"),
    "no text": (lambda: b"\xff\xfe{}", "is not JSON"),
    "deep": (lambda: b"[" * 100_000, "is not JSON"),
    "large": (lambda: b" " * (1 << 20) + b"{}", "is larger than"),
    "a list": (lambda: b"[]", "no sound field 'mediaType'"),
    "NaN": (lambda: b'{"a": NaN}', "the number NaN"),
    "repeated in the bundle": (lambda: b'{"a": 1, "a": 2}', "has the key 'a' twice"),
    "media type": (changed("mediaType", to="application/x"), "is of type 'application/x'"),
    "payload type": (changed("dsseEnvelope", "payloadType", to="text/plain"), "a payload of type 'text/plain'"),
    "no signature": (changed("dsseEnvelope", "signatures", to=[]), "has 0 signatures"),
    "two signatures": (two_signatures, "has 2 signatures"),
    "not base64": (changed("dsseEnvelope", "payload", to="e30*"), "is not in base64"),
    "not DER": (changed("dsseEnvelope", "signatures", 0, "sig", to="AAAA"), "did not sign its content"),
    "no envelope": (changed("dsseEnvelope", to=...), "no sound field 'dsseEnvelope'"),
    "certificate": (changed("verificationMaterial", to={"certificate": {}}), "is by a certificate"),
    "unknown key": (
        changed("verificationMaterial", "publicKey", "hint", to="ab" * 32),
        "not trusted (abababababababab…)",
    ),
    "hint of no text": (changed("verificationMaterial", "publicKey", "hint", to=7), "no sound field 'hint'"),
    "other key": (lambda: json.dumps(envelope(b"{}", KEYS[1])).encode(), "is by a key that is not trusted"),
    "false hint": (false_hint, "was altered: the key that it names"),
    "altered payload": (altered_payload, "was altered: the key that it names"),
    "altered signature": (altered_signature, "was altered: the key that it names"),
    "repeated in the statement": (repeated_key, "has the key 'resources' twice"),
    "statement of no JSON": (lambda: json.dumps(envelope(b"{")).encode(), "is not JSON"),
    "statement type": (signed_with("_type", to="https://in-toto.io/Statement/v0.1"), "is of type"),
    "predicate type": (signed_with("predicateType", to="https://slsa.dev/provenance/v1"), "a predicate of type"),
    "no predicate": (signed_with("predicate", to=...), "no sound field 'predicate'"),
    "shards": (signed_with("predicate", "serialization", "method", to="shards"), "lists 'shards' by 'sha256'"),
    "hash type": (signed_with("predicate", "serialization", "hash_type", to="blake2b"), "lists 'files' by 'blake2b'"),
    "no subject": (signed_with("subject", to=[]), "has 0 subjects"),
    "two subjects": (signed_with("subject", to=[{}, {}]), "has 2 subjects"),
    "root": (signed_with("subject", 0, "digest", "sha256", to="00" * 32), "contradicts itself"),
    "no resources": (signed_with("predicate", "resources", to={}), "no sound field 'resources'"),
    "resource left out": (signed_resources(OTHER), "leaves out model.safetensors"),
    "resource twice": (signed_resources(RESOURCE, RESOURCE), "lists 'model.safetensors' twice"),
    "algorithm": (signed_resources(RESOURCE | {"algorithm": "sha1"}), "by 'sha1', where only 'sha256'"),
    "short digest": (signed_resources(RESOURCE | {"digest": "00"}), "is not 64 hexadecimal digits"),
    "capital digest": (signed_resources(RESOURCE | {"digest": sha256(PAYLOAD).upper()}), "not 64 hexadecimal digits"),
    "whole beside others": (signed_resources(RESOURCE | {"name": "."}, OTHER), "leaves out model.safetensors"),
}


@pytest.mark.parametrize("case", MANY)
def test_each_fault_of_a_signature_is_refused_by_its_name(case: str) -> None:
    make, reason = MANY[case]
    with pytest.raises(SignatureError) as refused:
        verify(make())
    assert refused.value.reason.startswith("has a signature that ")
    assert reason in refused.value.reason
    assert refused.value.reason.endswith(".")


def test_no_single_byte_of_a_bundle_can_change_what_it_says() -> None:
    """Flips one bit of each byte: the reader refuses the bundle, or reads the same."""
    text = json.dumps(bundle(statement())).encode()
    wanted = verify(text)
    for at in range(len(text)):
        altered = bytearray(text)
        altered[at] ^= 1
        try:
            assert verify(bytes(altered)) == wanted
        except SignatureError:
            continue
