"""A server that requires signatures loads only what a trusted key has signed, and names the reason for the rest."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from serving import CHECKPOINTS, ROOT, Oracle, Server, http_get, http_post, metric_sum, running, wait_until

from models.checkpoint import load_checkpoint, save_checkpoint
from models.signatures.keys import PrivateKey, new_key_pair
from models.signing import sign_version
from models.store import Store

pytestmark = pytest.mark.slow

ROW = [80.0, 3.0]


class Signed:
    """A server that requires signatures, its store, and two keys, of which one is trusted."""

    def __init__(self, server: Server, store: Store, folder: Path) -> None:
        self.server = server
        self.store = store
        self._folder = folder

    def sign(self, reference: str, key: str = "trusted") -> None:
        sign_version(self.store.resolve(reference), PrivateKey(self._folder / f"{key}.pem"))

    def problems(self) -> dict[str, str]:
        problems: dict[str, str] = http_get(f"{self.server.url}/models").json()["problems"]
        return problems

    def answer(self, reference: str) -> tuple[int, Any]:
        """Returns the status and the answer to one row."""
        response = http_post(f"{self.server.url}/predict", json={"model": reference, "instances": [ROW]})
        return response.status_code, response.json()

    def wait_for(self, id_: str, reason: str) -> None:
        wait_until(lambda: reason in self.problems().get(id_, ""), lambda: f"{self.problems()}\n{self.server.log()}")


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signed]:
    folder = tmp_path_factory.mktemp("signed")
    store = Store(folder / "store")
    for name in ("price", "mixed", "colours"):
        store.publish(name, CHECKPOINTS[name])
    for key in ("trusted", "other"):
        new_key_pair(folder / f"{key}.pem")
    sign_version(store.resolve("price"), PrivateKey(folder / "trusted.pem"))
    sign_version(store.resolve("colours"), PrivateKey(folder / "other.pem"))
    settings = {"trusted_keys": folder / "trusted.pem.pub", "require_signature": True}
    with running(store.root, folder, **settings) as server:
        yield Signed(server, store, folder)


def test_only_what_a_trusted_key_has_signed_is_loaded(signed: Signed) -> None:
    status, answer = signed.answer("price")
    assert (status, answer["version"]) == (200, 1)
    assert answer["predictions"] == pytest.approx(Oracle(CHECKPOINTS["price"])(ROW), rel=1e-3)
    assert "is not signed" in signed.problems()["mixed@1"]
    assert "is by a key that is not trusted" in signed.problems()["colours@1"]
    for reference in ("mixed", "mixed@1", "colours", "colours@1"):
        assert signed.answer(reference)[0] == 503
    wait_until(lambda: metric_sum(signed.server, "axon_store_problems") == len(signed.problems()))
    log = signed.server.log()
    assert "store problem" in log
    assert "axon sign mixed@1" in log


def test_a_version_is_served_as_soon_as_it_is_signed(signed: Signed) -> None:
    version = signed.store.publish("late", CHECKPOINTS["price"])
    signed.wait_for("late@1", "is not signed")
    signed.sign("late")
    wait_until(lambda: signed.answer("late")[0] == 200, signed.server.log)
    wait_until(lambda: "late@1" not in signed.problems(), signed.server.log)
    signed.store.publish("late", CHECKPOINTS["price"])
    signed.wait_for("late@2", "is not signed")
    assert signed.answer("late")[1]["version"] == 1
    shutil.copy(version.signature_path, signed.store.resolve("late@2").signature_path)
    signed.wait_for("late@2", "is for 'late@1', not for late@2")
    signed.sign("late@2")
    wait_until(lambda: signed.answer("late")[1].get("version") == 2, signed.server.log)


def test_an_altered_version_never_answers_and_the_old_bytes_stay_even_if_workers_die(signed: Signed) -> None:
    store = signed.store
    path = store.publish("price", CHECKPOINTS["price"]).path
    signed.sign("price@2")
    wait_until(lambda: signed.answer("price")[1].get("version") == 2, signed.server.log)
    before = signed.answer("price")[1]["predictions"]
    checkpoint = load_checkpoint(path).checkpoint
    tensors = {name: tensor + 1 for name, tensor in checkpoint.tensors.items()}
    save_checkpoint(replace(checkpoint, tensors=tensors), path)
    signed.wait_for("price@2", "was altered after it was signed")
    workers = signed.server.worker_pids()
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: bool(set(signed.server.worker_pids()) - set(workers)), signed.server.log)
    wait_until(signed.server.ready, signed.server.log)
    assert signed.answer("price")[1]["predictions"] == before
    signed.sign("price@2")
    wait_until(lambda: signed.answer("price")[1].get("predictions") not in (None, before), signed.server.log)
    wait_until(lambda: "price@2" not in signed.problems(), lambda: str(signed.problems()))


def test_the_model_card_is_shown_as_it_was_signed(signed: Signed) -> None:
    def shown(card: str) -> Any:
        version = signed.store.publish("carded", CHECKPOINTS["price"])
        version.path.with_name("README.md").write_text("# A card")
        signed.sign(str(version))
        wait_until(lambda: signed.answer(str(version))[0] == 200, signed.server.log)
        version.path.with_name("README.md").write_text(card)
        return http_get(f"{signed.server.url}/models/{version}/training").json()["card"]

    assert shown("# A card") == "# A card"
    assert shown("# Another") is None


def test_a_start_with_an_unusable_key_ends_with_one_sentence(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AXON_")}
    ran = subprocess.run(
        [sys.executable, "-m", "service"],
        cwd=ROOT,
        env=environment | {"AXON_STORE": str(tmp_path), "AXON_TRUSTED_KEYS": "nowhere.pem"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    sentence = "axon-serve: AXON_TRUSTED_KEYS: nowhere.pem cannot be read: No such file or directory.\n"
    assert (ran.returncode, ran.stderr) == (2, sentence)
