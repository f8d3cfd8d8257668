"""A store with a trust reads only the bytes that were signed, and notices each change of a signature."""

from __future__ import annotations

import json
import shutil
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving import CHECKPOINTS

from models.checkpoint import load_checkpoint, save_checkpoint
from models.errors import CheckpointError, SignatureError
from models.signatures.keys import PrivateKey, new_key_pair
from models.signatures.trust import Trust
from models.signing import sign_version, trusted, verify_version
from models.store import Store


class Signing:
    """A store with one version `price@1`, and a key that is trusted."""

    def __init__(self, folder: Path) -> None:
        new_key_pair(folder / "key.pem")
        self.public = folder / "key.pem.pub"
        self.key = PrivateKey(folder / "key.pem")
        self.plain = Store(folder / "store")
        self.store = Store(folder / "store", trust=Trust.of_files([self.public]))
        self.file = self.plain.publish("price", CHECKPOINTS["price"]).path

    def sign(self, reference: str = "price@1") -> None:
        sign_version(self.plain.resolve(reference), self.key)


@pytest.fixture
def signing(tmp_path: Path) -> Signing:
    return Signing(tmp_path)


def other_weights(path: Path) -> None:
    """Changes one weight, and writes a checkpoint that is sound by its own digest."""
    checkpoint = load_checkpoint(path).checkpoint
    tensors = {name: np.array(tensor) for name, tensor in checkpoint.tensors.items()}
    tensors["layers.0.weight"][0, 0] += 1
    save_checkpoint(replace(checkpoint, tensors=tensors), path)


def other_header(path: Path) -> None:
    """Changes the training settings in the header alone, and writes a sound checkpoint."""
    save_checkpoint(replace(load_checkpoint(path).checkpoint, training={"epochs": 3}), path)


def other_bytes(path: Path) -> None:
    """Changes the last byte of the tensors."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def same_content_other_file(path: Path) -> None:
    """Adds a blank to safetensors' own header, which Axon's digest does not cover."""
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    path.write_bytes(struct.pack("<Q", length + 1) + content[8 : 8 + length] + b" " + content[8 + length :])
    load_checkpoint(path)


@pytest.mark.parametrize("change", [other_weights, other_header, other_bytes, same_content_other_file])
def test_an_altered_checkpoint_is_not_read_in_any_way(signing: Signing, change: Any) -> None:
    signing.sign()
    assert signing.store.load("price").digest == signing.store.resolve("price").read_header()["digest"]
    change(signing.file)
    for read in (signing.store.resolve("price").load, signing.store.resolve("price").read_header):
        with pytest.raises(SignatureError, match="altered after it was signed") as refused:
            read()
        assert refused.value.path == signing.file


def test_unsigned_versions_are_not_read(signing: Signing) -> None:
    for read in (signing.store.resolve("price").load, signing.store.resolve("price").read_header):
        with pytest.raises(SignatureError, match=r"is not signed.*axon sign price@1"):
            read()
    signing.sign()
    assert signing.store.load("price").checkpoint.header() == CHECKPOINTS["price"].header()


def test_the_identity_of_a_version_changes_with_its_signature(signing: Signing) -> None:
    identities = [signing.store.resolve("price").identity()]
    for _ in range(2):
        signing.sign()
        identities.append(signing.store.resolve("price").identity())
    signing.file.with_name("model.sig").unlink()
    identities.append(signing.store.resolve("price").identity())
    assert len(set(identities)) == 3
    assert identities[0] == identities[-1] == signing.plain.resolve("price").identity()


def test_a_copy_in_another_place_is_refused(signing: Signing) -> None:
    signing.sign()
    for place in ("price/2", "other/1"):
        shutil.copytree(signing.file.parent, signing.plain.root / place)
        reference = place.replace("/", "@")
        with pytest.raises(SignatureError, match=f"is for 'price@1', not for {reference}"):
            signing.store.load(reference)
    signing.sign("other@1")
    assert signing.store.load("other@1")


def test_a_signature_by_another_key_is_refused(signing: Signing, tmp_path: Path) -> None:
    new_key_pair(tmp_path / "other.pem")
    sign_version(signing.plain.resolve("price"), PrivateKey(tmp_path / "other.pem"))
    with pytest.raises(SignatureError, match="is by a key that is not trusted"):
        signing.store.load("price")
    both = Trust.of_files([signing.public, tmp_path / "other.pem.pub"])
    assert Store(signing.plain.root, trust=both).load("price")


def test_a_signature_that_cannot_be_read_is_not_taken_for_none(signing: Signing) -> None:
    signing.file.with_name("model.sig").mkdir()
    trust = Trust(signing.store.trust.keys if signing.store.trust else (), required=False)
    with pytest.raises(SignatureError, match="has a signature that cannot be read"):
        Store(signing.plain.root, trust=trust).load("price")


def test_a_damaged_checkpoint_is_not_signed(signing: Signing) -> None:
    other_bytes(signing.file)
    with pytest.raises(CheckpointError, match="altered"):
        signing.sign()
    assert [path.name for path in signing.file.parent.iterdir()] == ["model.safetensors"]


def test_a_signature_that_cannot_be_written_leaves_nothing(signing: Signing) -> None:
    signing.sign()
    before = signing.file.with_name("model.sig").read_bytes()
    (signing.file.parent / "link").symlink_to(signing.public)
    with pytest.raises(SignatureError, match="link: is a link"):
        signing.sign()
    assert signing.file.with_name("model.sig").read_bytes() == before
    assert len(list(signing.file.parent.iterdir())) == 3


def beside(signing: Signing) -> Path:
    return signing.file.with_name("README.md")


def test_every_file_of_a_version_is_verified(signing: Signing) -> None:
    trust = signing.store.trust
    assert trust is not None
    beside(signing).write_text("card")
    signing.sign()
    version = signing.plain.resolve("price")
    assert verify_version(version, trust).resources.keys() == {"README.md", "model.safetensors"}
    beside(signing).write_text("another")
    with pytest.raises(SignatureError, match=r"README\.md: was altered"):
        verify_version(version, trust)
    beside(signing).unlink()
    figures = signing.file.with_name("figures")
    figures.mkdir()
    (figures / "loss.svg").write_text("curve")
    with pytest.raises(SignatureError, match=r"README\.md: is missing"):
        verify_version(version, trust)
    signing.sign()
    assert verify_version(version, trust).resources.keys() == {"figures/loss.svg", "model.safetensors"}
    shutil.rmtree(figures)
    with pytest.raises(SignatureError, match=r"figures/loss\.svg: is missing"):
        verify_version(version, trust)
    beside(signing).write_text("card")
    signing.sign()
    beside(signing).unlink()
    with pytest.raises(SignatureError, match=r"README\.md: is missing"):
        verify_version(version, trust)
    beside(signing).write_text("card")
    signing.file.with_name("report.html").write_text("page")
    with pytest.raises(SignatureError, match=r"report\.html: is not part of the signature"):
        verify_version(version, trust)
    assert signing.store.load("price")  # what answers requests is as it was signed


@pytest.fixture
def variables(signing: Signing) -> dict[str, str]:
    return {"AXON_TRUSTED_KEYS": str(signing.public), "AXON_REQUIRE_SIGNATURE": "true"}


def test_programs_outside_the_server_follow_the_same_variables(
    signing: Signing, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import axon
    from scoring.scorer import Scorer

    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for load in (
        lambda: axon.load("price", signing.plain.root),
        lambda: axon.load("price", signing.plain),
        lambda: Scorer("price", signing.plain.root),
        lambda: trusted(signing.plain.resolve("price")).load(),
    ):
        with pytest.raises(SignatureError, match="is not signed"):
            load()
    signing.sign()
    assert axon.load("price", signing.plain.root).reference == "price@1"
    assert Scorer("price", signing.plain.root).reference == "price@1"


def test_no_reader_ever_gets_the_bytes_of_a_file_that_is_swapped_while_it_is_read(signing: Signing) -> None:
    signing.sign()
    digest = signing.store.load("price").digest
    good, bad = signing.file.with_name("good"), signing.file.with_name("bad")
    shutil.copy(signing.file, good)
    other_weights(shutil.copy(signing.file, bad))
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            for content in (bad, good):
                shutil.copy(content, signing.file.with_name("next"))
                signing.file.with_name("next").replace(signing.file)

    swapper = threading.Thread(target=swap)
    swapper.start()
    read, reasons = 0, []
    try:
        until = time.monotonic() + 60
        while min(read, len(reasons)) < 50 and time.monotonic() < until:
            try:
                assert signing.store.load("price").digest == digest
                assert signing.store.resolve("price").read_header()["digest"] == digest
                read += 1
            except SignatureError as error:
                reasons.append(error.reason)
    finally:
        over.set()
        swapper.join()
    assert min(read, len(reasons)) >= 50
    assert set(reasons) == {"was altered after it was signed: its SHA-256 is not the one in its signature."}


def test_what_a_killed_signer_left_is_neither_signed_nor_in_the_way(signing: Signing) -> None:
    leftover = signing.file.with_name(".model.sig.0123456789abcdef")
    leftover.write_text("half of a signa")
    signing.sign()
    assert not leftover.exists()
    assert signing.store.trust is not None
    assert verify_version(signing.plain.resolve("price"), signing.store.trust).resources.keys() == {"model.safetensors"}


def test_signers_at_once_leave_one_whole_signature(signing: Signing) -> None:
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(signing.sign) for _ in range(12)]:
            done.result()
    assert signing.store.load("price")
    assert {path.name for path in signing.file.parent.iterdir()} == {"model.safetensors", "model.sig"}


def test_the_signature_is_json_that_names_the_key(signing: Signing) -> None:
    signing.sign()
    document = json.loads(signing.file.with_name("model.sig").read_text())
    assert document["verificationMaterial"]["publicKey"]["hint"] == signing.key.public.fingerprint
