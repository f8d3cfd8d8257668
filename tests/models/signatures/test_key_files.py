"""Key files: what is no key of the right kind is refused with path and variable."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)

from models.errors import ConfigError
from models.signatures.keys import PrivateKey, new_key_pair, read_public_keys
from models.signatures.trust import trust_of_environment

KEY = ec.generate_private_key(ec.SECP256R1())
PUBLIC = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
OTHER = (
    ec.generate_private_key(ec.SECP384R1()).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
)
PRIVATE = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
ENCRYPTED = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
ED25519 = ed25519.Ed25519PrivateKey.generate()
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ODD_CURVE = ec.generate_private_key(ec.SECP256K1())


def public_of(key: ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_a_new_pair_signs_and_only_its_owner_can_read_the_private_key(tmp_path: Path) -> None:
    path = tmp_path / "release.pem"
    public = new_key_pair(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (read,) = read_public_keys(tmp_path / "release.pem.pub")
    assert read == public == PrivateKey(path).public
    key = load_pem_public_key(public.pem)
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    signature = PrivateKey(path).sign(b"message")
    assert public.verifies(signature, b"message")
    assert not public.verifies(signature, b"massage")
    with pytest.raises(ConfigError, match="exists"):
        new_key_pair(path)
    path.unlink()
    with pytest.raises(ConfigError, match=r"release\.pem\.pub exists"):
        new_key_pair(path)
    assert not path.exists()


def test_a_file_may_hold_several_keys_and_none_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "keys.pem"
    file.write_bytes(b"# ours\n" + PUBLIC + b"# theirs\r\n" + OTHER.replace(b"\n", b"\r\n"))
    assert [key.pem for key in read_public_keys(file)] == [PUBLIC, OTHER]
    for broken in (PUBLIC + OTHER[:-30], PUBLIC + public_of(ED25519), PUBLIC + PRIVATE):
        file.write_bytes(broken)
        with pytest.raises(ConfigError, match=r"keys\.pem"):
            read_public_keys(file)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not a PEM file of a public key"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "holds no readable public key"),
        (PUBLIC[:-40], "is not a PEM file of a public key"),
        (b" " * (1 << 16) + PUBLIC, "is not a PEM file of a public key"),
        (PRIVATE, "holds a private key, where a public key belongs"),
        (ENCRYPTED, "holds a private key, where a public key belongs"),
        (public_of(ED25519), "holds a key of another kind"),
        (public_of(RSA), "holds a key of another kind"),
        (public_of(ODD_CURVE), "holds a key of another kind"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "holds a certificate, not a public key"),
    ],
)
def test_what_is_no_public_key_is_refused_with_path_and_variable(content: bytes, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        trust_of_environment({"AXON_TRUSTED_KEYS": str(file)})
    assert str(refused.value).startswith(f"AXON_TRUSTED_KEYS: {file} {reason}")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (PUBLIC, "holds a public key, not a private key"),
        (ENCRYPTED, "is encrypted: `openssl pkey"),
        (PRIVATE * 2, "holds 2 keys, and only one can sign"),
        (RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "holds a key of another kind"),
        (ED25519.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "holds a key of another kind"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "holds no readable private key"),
    ],
)
def test_what_cannot_sign_is_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        PrivateKey(file)
    assert str(refused.value).startswith(f"{file} {reason}")


def test_keys_in_the_older_form_of_openssl_sign_too(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    older = KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    file.write_bytes(b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + older)
    assert PrivateKey(file).public.pem == PUBLIC


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"AXON_REQUIRE_SIGNATURE": "true"}, "AXON_REQUIRE_SIGNATURE: it is on, and AXON_TRUSTED_KEYS names no key"),
        ({"AXON_REQUIRE_SIGNATURE": "perhaps"}, "AXON_REQUIRE_SIGNATURE: 'perhaps' is neither true nor false"),
        ({"AXON_TRUSTED_KEYS": " "}, "AXON_TRUSTED_KEYS: it is empty"),
        ({"AXON_TRUSTED_KEYS": "/nowhere/key.pem"}, "AXON_TRUSTED_KEYS: /nowhere/key.pem cannot be read: No such file"),
        ({"axon_trusted_keys": "/dev/null"}, "AXON_TRUSTED_KEYS: /dev/null cannot be read"),
    ],
)
def test_unusable_variables_are_named(variables: dict[str, str], reason: str) -> None:
    with pytest.raises(ConfigError) as refused:
        trust_of_environment(variables)
    assert str(refused.value).startswith(reason)


@pytest.fixture
def two_files(tmp_path: Path) -> str:
    (tmp_path / "a.pem").write_bytes(PUBLIC)
    (tmp_path / "b.pem").write_bytes(PUBLIC + OTHER)
    return f"{tmp_path}/a.pem  {tmp_path}/b.pem"


@pytest.mark.parametrize(
    ("given", "required"), [("true", True), ("1", True), ("ON", True), ("no", False), (None, False)]
)
def test_the_variables_state_the_trust(two_files: str, given: str | None, required: bool) -> None:
    variables = {"AXON_TRUSTED_KEYS": two_files} | ({} if given is None else {"AXON_REQUIRE_SIGNATURE": given})
    trust = trust_of_environment(variables)
    assert trust is not None
    assert ([key.pem for key in trust.keys], trust.required) == ([PUBLIC, OTHER], required)


def test_nothing_set_trusts_everybody() -> None:
    assert trust_of_environment({}) is None


def test_without_cryptography_a_sentence_names_the_extra(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(PUBLIC)
    code = f"""
import sys
sys.modules["cryptography"] = None
from pathlib import Path
from models.errors import ConfigError
from models.signatures.keys import PrivateKey, new_key_pair, read_public_keys
for use, name in ((read_public_keys, "key"), (PrivateKey, "key"), (new_key_pair, "new")):
    try:
        use(Path({str(tmp_path)!r}) / name)
    except ConfigError as error:
        print(error)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.count("needs the part 'signing' of Axon, and 'cryptography' is not installed") == 3
