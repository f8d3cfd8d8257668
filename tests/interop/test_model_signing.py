"""Signatures go both ways between Axon and `model_signing`: what one signs, the other verifies or refuses."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from client_runs import interpreter
from served_models import MODELS

from models.errors import SignatureError
from models.signatures.keys import PrivateKey, new_key_pair
from models.signatures.trust import Trust
from models.signing import sign_version, verify_version
from models.store import ModelVersion, Store


class Peer:
    """The program `model_signing`, and a version with a model card."""

    def __init__(self, folder: Path) -> None:
        self._python = interpreter("model_signing", "model_signing")
        self.folder = folder
        new_key_pair(folder / "key.pem")
        new_key_pair(folder / "other.pem")
        self.version: ModelVersion = Store(folder / "store").publish("late", MODELS["late"])
        self.card.write_text("# A card")

    @property
    def card(self) -> Path:
        return self.version.path.with_name("README.md")

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        command = [self._python, "-m", "model_signing", *words]
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run(command, capture_output=True, text=True, env=clean, timeout=120, check=False)

    def sign(self, what: Path) -> None:
        key = self.folder / "key.pem"
        ran = self.run("sign", "key", what, "--private_key", key, "--signature", self.version.signature_path)
        assert ran.returncode == 0, ran.stderr

    def verify(self, key: str = "key.pem.pub") -> str:
        """Returns the reason of a refusal; empty if the version was accepted."""
        signature = self.version.signature_path
        folder = self.version.path.parent
        ran = self.run("verify", "key", folder, "--public_key", self.folder / key, "--signature", signature)
        assert ("Verification succeeded" in ran.stdout + ran.stderr) == (ran.returncode == 0)
        return "" if ran.returncode == 0 else ran.stderr

    def trust(self, key: str = "key.pem.pub") -> Trust:
        return Trust.of_files([self.folder / key])


@pytest.fixture
def peer(tmp_path: Path) -> Peer:
    return Peer(tmp_path)


def flip_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def flip_header_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    at = content.index(b"late") if b"late" in content else 40
    content[at] ^= 1
    path.write_bytes(content)


def test_the_peer_verifies_what_axon_signs(peer: Peer) -> None:
    sign_version(peer.version, PrivateKey(peer.folder / "key.pem"))
    assert peer.verify() == ""
    assert "mismatch" in peer.verify("other.pem.pub")


@pytest.mark.parametrize("change", [flip_last_byte, flip_header_byte])
def test_the_peer_refuses_what_was_altered_after_axon_signed(peer: Peer, change: Callable[[Path], None]) -> None:
    sign_version(peer.version, PrivateKey(peer.folder / "key.pem"))
    change(peer.version.path)
    assert re.search(r"Hash mismatch for \W*model\.safetensors", peer.verify())


def test_axon_verifies_what_the_peer_signs(peer: Peer) -> None:
    peer.sign(peer.version.path.parent)
    signed = verify_version(peer.version, peer.trust())
    assert signed.resources.keys() == {"README.md", "model.safetensors"}
    assert Store(peer.folder / "store", trust=peer.trust()).load("late")
    with pytest.raises(SignatureError, match="is by a key that is not trusted"):
        verify_version(peer.version, peer.trust("other.pem.pub"))
    peer.card.write_text("# Another")
    with pytest.raises(SignatureError, match=r"README\.md: was altered"):
        verify_version(peer.version, peer.trust())


def test_axon_verifies_a_checkpoint_that_the_peer_signed_alone(peer: Peer) -> None:
    peer.sign(peer.version.path)
    assert Store(peer.folder / "store", trust=peer.trust()).load("late")


@pytest.mark.parametrize("change", [flip_last_byte, flip_header_byte])
def test_axon_refuses_what_was_altered_after_the_peer_signed(peer: Peer, change: Callable[[Path], None]) -> None:
    peer.sign(peer.version.path.parent)
    change(peer.version.path)
    with pytest.raises(SignatureError, match="was altered after it was signed"):
        Store(peer.folder / "store", trust=peer.trust()).load("late")


def test_axon_refuses_digests_that_the_peer_made_by_another_algorithm(peer: Peer) -> None:
    """Signs by the library of the peer, whose command has no option for the algorithm."""
    code = """
import sys, model_signing
folder, key, signature = sys.argv[1:]
hashing = model_signing.hashing.Config().use_file_serialization(hashing_algorithm="blake2")
model_signing.signing.Config().use_elliptic_key_signer(private_key=key).set_hashing_config(hashing).sign(
    folder, signature
)
"""
    version = peer.version
    command = [interpreter("model_signing", "model_signing"), "-c", code, version.path.parent]
    subprocess.run([*command, peer.folder / "key.pem", version.signature_path], check=True, timeout=120)
    with pytest.raises(SignatureError, match="lists 'files' by 'blake2"):
        verify_version(version, peer.trust())
