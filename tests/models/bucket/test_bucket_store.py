"""The store in a bucket does what the folder does, and its writers and readers are safe against each other.

The bucket is `file://`: the bucket's layout on a disk, with the same conditional creation. `tests/interop` has S3.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from obstore.store import MemoryStore
from small_models import small_model

from models.bucket.bucket_store import BucketStore
from models.bucket.objects import Found, Objects
from models.errors import BucketError, CheckpointError, InvalidName, ModelNotFound, SignatureError, StoreError
from models.model_store import ModelStore
from models.open_store import open_store
from models.signatures.keys import PrivateKey, new_key_pair
from models.signatures.trust import Trust
from models.signing import sign_version, verify_version
from models.store import Store
from models.version_policy import VersionPolicy

ROOT = Path(__file__).parents[3]
# Each code runs in processes that are forked after the imports, which take most of the time.
FORK = """
import os, sys
from small_models import small_model
from models.open_store import open_store

def work(store, number):
    {work}

children = []
for number in range(int(sys.argv[2])):
    if (child := os.fork()) == 0:
        work(open_store(sys.argv[1]), number)
        os._exit(0)
    children.append(child)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""
PUBLISH = """for seed in range(10 * number, 10 * number + 5):
        line = f"{seed} {store.publish('m', small_model(seed)).version}\\n"
        os.write(1, line.encode())  # in one piece, beside the other processes"""
POINT = """for one in range(5):
        store.set_alias("m", f"a{number}-{one}", 1)"""
# Dies between the file and the manifest of the third version.
DIE = """for seed in range(2):
        store.publish("m", small_model(seed))
    store._put_manifest = lambda _: os.kill(os.getpid(), 9)
    store.publish("m", small_model(2))"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AXON_STORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    return tmp_path / "bucket"


@pytest.fixture
def store(bucket: Path) -> ModelStore:
    return open_store(f"file://{bucket}")


def in_memory(folder: Path, backend: MemoryStore, kind: type[Objects] = Objects) -> BucketStore:
    return BucketStore(kind(backend, "memory://"), folder=folder, limit_bytes=1 << 30)


def in_processes(work: str, store: ModelStore, count: int) -> subprocess.CompletedProcess[str]:
    """Runs a code in many processes at the same time; returns their output, and the worst exit code."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/tests", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", FORK.replace("{work}", work), store.address, str(count)]
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, timeout=300, check=False)


def outcome(call: Callable[[], object]) -> object:
    """Returns the result of a call in words, or the type of its error."""
    try:
        return str(call())
    except (StoreError, CheckpointError) as error:
        return type(error).__name__


def test_every_change_has_the_result_that_it_has_in_a_folder(store, tmp_path):
    folder = Store(tmp_path / "folder")
    changes: list[Callable[[ModelStore], object]] = [
        lambda one: one.entry("m"),
        lambda one: one.set_alias("m", "production", 1),
        lambda one: one.publish("m", small_model(1)),
        lambda one: one.publish("m", small_model(2)),
        lambda one: one.publish("other", small_model(3)),
        lambda one: one.roll_back("m"),
        lambda one: one.set_alias("m", "production", 1),
        lambda one: one.set_alias("m", "production", 7),
        lambda one: one.set_alias("m", "latest", 1),
        lambda one: one.split("m", "production", {1: 90, 2: 10}),
        lambda one: one.roll_back("m", "production"),
        lambda one: one.set_shadow("m", "production", 2, 20),
        lambda one: one.delete("m", 2),
        lambda one: one.remove_shadow("m", "production"),
        lambda one: one.remove_shadow("m", "production"),
        lambda one: one.delete("m", 2),
        lambda one: one.delete("m", 2),
        lambda one: one.resolve("m@2"),
        lambda one: one.publish("m", small_model(4)),
        lambda one: one.resolve("m"),
        lambda one: one.resolve("m@production"),
        lambda one: one.resolve("m@nothing"),
        lambda one: one.set_policy("m", VersionPolicy.parse("newest:2")),
        lambda one: one.set_policy("m", VersionPolicy.parse("1,2")),
        lambda one: one.read_policy("m"),
        lambda one: one.set_policy("m", None),
        lambda one: one.read_policy("m"),
        lambda one: one.remove_alias("m", "production"),
        lambda one: one.remove_alias("m", "production"),
        lambda one: one.delete("m", 1),
        lambda one: one.delete("m", 3),
        lambda one: one.entry("m"),
        lambda one: one.names(),
        lambda one: one.publish("m", small_model(5)),
        lambda one: one.publish("../m", small_model(5)),
    ]
    for number, change in enumerate(changes):
        assert outcome(lambda change=change: change(store)) == outcome(lambda change=change: change(folder)), number
        assert store.entries() == folder.entries(), number
    assert store.load("m@4").digest == folder.load("m@4").digest
    assert store.load("m").digest == folder.load("m").digest
    assert store.version("m", 4).read_header() == folder.version("m", 4).read_header()


def test_a_page_of_a_version_comes_back_and_goes_with_the_version(store, bucket):
    version = store.publish("m", small_model())
    assert version.read_page("README.md", 100) is None
    assert version.write_page("README.md", b"about") == f"file://{bucket}/pages/m/1/README.md"
    assert version.read_page("README.md", 100) == b"about"
    store.delete("m", 1)
    assert not list((bucket / "pages").rglob("*.md"))
    assert not list((bucket / "files").rglob("*.safetensors"))


def test_publishers_in_many_processes_get_a_version_each_with_their_own_model(store):
    ran = in_processes(PUBLISH, store, 4)
    assert ran.returncode == 0
    seed_of = {int(version): int(seed) for seed, version in map(str.split, ran.stdout.splitlines())}
    assert store.entry("m").versions == tuple(range(1, 21)) == tuple(sorted(seed_of))
    folder = Store(Path(os.environ["AXON_STORE_CACHE"]) / "folder")
    for version, seed in seed_of.items():
        folder.publish("m", small_model(seed))
        assert store.load(f"m@{version}").digest == folder.load("m").digest


def test_no_alias_is_lost_when_many_processes_change_the_same_model(store):
    store.publish("m", small_model())
    assert in_processes(POINT, store, 4).returncode == 0
    assert len(store.entry("m").aliases) == 20


def test_no_alias_is_lost_in_a_bucket_that_replaces_by_its_own_condition(tmp_path):
    backend = MemoryStore()
    stores = [in_memory(tmp_path / str(number), backend) for number in range(4)]
    stores[0].publish("m", small_model())

    def change(number: int) -> None:
        for one in range(5):
            stores[number].set_alias("m", f"a{number}-{one}", 1)

    threads = [threading.Thread(target=change, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stores[0].entry("m").aliases) == 20


def test_a_version_that_an_alias_got_meanwhile_is_not_deleted(store, bucket, tmp_path, monkeypatch):
    for seed in range(2):
        store.publish("m", small_model(seed))
    other = open_store(store.address)
    real = Objects.get
    raced = []

    def get(self: Objects, key: str, most_bytes: int) -> Found | None:
        found = real(self, key, most_bytes)
        if key.endswith("aliases.json") and not raced:
            raced.append(key)
            other.set_alias("m", "production", 1)  # between the reading and the writing of `delete`
        return found

    monkeypatch.setattr(Objects, "get", get)
    with pytest.raises(StoreError, match="alias 'production' names"):
        store.delete("m", 1)
    assert raced
    assert store.resolve("m@production").load().digest == other.load("m@1").digest


class LosesAnswers(Objects):
    """Objects of a bucket whose answer to each second conditional write gets lost after the write."""

    writes = 0

    def create(self, key: str, content: bytes) -> bool:
        return self._lost(super().create(key, content), key)

    def replace(self, key: str, content: bytes, seen: Found | None) -> bool:
        result = super().replace(key, content, seen)
        return result if seen is None else self._lost(result, key)

    def _lost(self, result: bool, key: str) -> bool:
        type(self).writes += 1
        if key.startswith("models/") and self.writes % 2:
            raise BucketError(self.address, "the answer was lost.")
        return result


def test_a_write_whose_answer_was_lost_counts_once(tmp_path):
    LosesAnswers.writes = 0
    store = in_memory(tmp_path, MemoryStore(), LosesAnswers)
    assert [store.publish("m", small_model(seed)).version for seed in range(6)] == [1, 2, 3, 4, 5, 6]
    for version in range(1, 7):
        store.set_alias("m", "production", version)
    assert store.roll_back("m", "production") == (6, 5)
    assert store.entry("m").versions == (1, 2, 3, 4, 5, 6)


class IgnoresConditions(Objects):
    """Objects of a service that does not heed `If-None-Match`."""

    def create(self, key: str, content: bytes) -> bool:
        self.put(key, content)
        return True


def test_a_service_that_ignores_conditions_is_refused_before_anything_is_published(tmp_path):
    store = in_memory(tmp_path, MemoryStore(), IgnoresConditions)
    for call in (lambda: store.publish("m", small_model()), lambda: store.try_publishing("m")):
        with pytest.raises(StoreError, match="ignores conditions"):
            call()
    assert store.entries() == []


def test_what_a_killed_publisher_has_left_is_no_version(store, bucket):
    assert in_processes(DIE, store, 1).returncode == 256 - signal.SIGKILL
    assert store.entry("m").versions == (1, 2)
    assert len(list((bucket / "files/m").iterdir())) == 3
    assert store.publish("m", small_model(9)).version == 3


def damaged(bucket: Path, how: str) -> None:
    """Damages version 2 of model m."""
    manifest = bucket / "models/m/2.json"
    file = bucket / json.loads(manifest.read_text())["file"]
    payload = file.read_bytes()
    match how:
        case "truncated":
            file.write_bytes(payload[: len(payload) // 2])
        case "other bytes":
            file.write_bytes(payload[:-1] + bytes([payload[-1] ^ 1]))
        case "another version's bytes":
            other = json.loads((bucket / "models/m/1.json").read_text())["file"]
            file.write_bytes((bucket / other).read_bytes())
        case "longer":
            file.write_bytes(payload + b"0")
        case "gone":
            file.unlink()
        case "garbage manifest":
            manifest.write_bytes(b"<html>502 Bad Gateway</html>")
        case "half a manifest":
            manifest.write_bytes(manifest.read_bytes()[:100])
        case "another's manifest":
            manifest.write_bytes((bucket / "models/m/1.json").read_bytes())
        case "a manifest with another's file":
            other = json.loads((bucket / "models/m/1.json").read_text())["file"]
            manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"file": other}))
        case "a manifest with another digest":
            digest = json.loads((bucket / "models/m/1.json").read_text())["digest"]
            manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"digest": digest}))


DAMAGES = {
    "truncated": "answer|bytes|understood",
    "other bytes": "other bytes than its manifest names",
    "another version's bytes": "other bytes than its manifest names",
    "gone": "is not in the bucket",
    "garbage manifest": "its manifest is not JSON",
    "half a manifest": "its manifest is not JSON",
    "another's manifest": "its manifest is the manifest of another version",
    "a manifest with another's file": "its manifest lacks a field",
    "a manifest with another digest": "another checkpoint than the one that its manifest names",
}


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_version_is_refused_by_name_and_its_neighbours_are_not(store, bucket, cache, how):
    for seed in range(3):
        store.publish("m", small_model(seed))
    damaged(bucket, how)
    with pytest.raises(CheckpointError, match=DAMAGES[how]) as refused:
        store.load("m@2")
    assert "m@2" in str(refused.value)
    with pytest.raises(CheckpointError, match=DAMAGES[how]):
        store.version("m", 2).read_header()
    assert store.load("m@1").digest != store.load("m@3").digest
    assert store.resolve("m").version == 3


def test_what_was_brought_stays_known_while_the_bucket_is_wrong(bucket, store):
    for seed in range(2):
        store.publish("m", small_model(seed))
    store.set_alias("m", "production", 1)
    follower = open_store(store.address, follow_seconds=0.001)
    follower.expire()
    before, digest = follower.entries(), follower.load("m").digest
    (bucket / "models/m/aliases.json").write_bytes(b"{")
    follower.expire()
    [entry] = follower.entries()
    assert entry.problem == "m/aliases.json is not JSON."
    with pytest.raises(StoreError, match="is not JSON"):
        follower.resolve("m@production")
    (bucket / "models/m/aliases.json").unlink()
    store.set_alias("m", "production", 1)
    follower.expire()
    assert follower.entries() == before
    assert follower.load("m").digest == digest


def test_a_bucket_that_is_gone_is_an_error_for_a_command_and_a_problem_for_a_server(tmp_path, store, monkeypatch):
    store.publish("m", small_model())
    backend = MemoryStore()
    live = in_memory(tmp_path / "one", backend)
    live.publish("m", small_model())
    objects = Objects(backend, "memory://")
    follower = BucketStore(objects, folder=tmp_path / "two", limit_bytes=1 << 30, follow_seconds=0.001)
    before, digest = follower.entries(), follower.load("m").digest
    assert follower.problem is None

    def fail(*_: object, **__: object) -> list[object]:
        raise BucketError("memory://", "the bucket answers with status 500.")

    monkeypatch.setattr(Objects, "list", fail)
    monkeypatch.setattr(Objects, "get", fail)
    with pytest.raises(BucketError, match="status 500"):
        live.entries()
    assert follower.entries() == before
    assert follower.load("m").digest == digest
    assert follower.problem is not None
    assert "status 500" in follower.problem
    again = BucketStore(objects, folder=tmp_path / "two", limit_bytes=1 << 30, follow_seconds=0.001)
    assert again.entries() == before  # a server that restarts meanwhile
    assert again.load("m").digest == digest
    with pytest.raises(CheckpointError, match="is not in the store"):
        again.version("m", 2).load()
    monkeypatch.undo()
    follower.expire()
    assert follower.entries() == before
    assert follower.problem is None


def test_the_processes_of_a_machine_share_a_listing(tmp_path, monkeypatch):
    backend = MemoryStore()
    in_memory(tmp_path / "elsewhere", backend).publish("m", small_model())
    listings = []
    real = Objects.list
    monkeypatch.setattr(Objects, "list", lambda self, prefix: listings.append(prefix) or real(self, prefix))
    followers = [
        BucketStore(Objects(backend, "memory://"), folder=tmp_path / "here", limit_bytes=1 << 30, follow_seconds=60)
        for _ in range(4)
    ]
    assert {tuple(follower.names()) for follower in followers for _ in range(3)} == {("m",)}
    assert listings == ["models/"]
    in_memory(tmp_path / "elsewhere", backend).publish("n", small_model())
    listings.clear()
    assert followers[1].names() == ["m"]
    followers[0].expire()
    assert followers[0].names() == ["m", "n"]
    assert followers[3].names() == ["m", "n"]
    assert listings == ["models/"]


def test_an_unchanged_store_is_followed_by_one_listing_and_no_reading(tmp_path, monkeypatch):
    backend = MemoryStore()
    store = in_memory(tmp_path, backend)
    for seed in range(3):
        store.publish("m", small_model(seed))
    store.set_alias("m", "production", 2)
    store.entries()
    read = []
    real = Objects.get
    monkeypatch.setattr(Objects, "get", lambda self, key, most: read.append(key) or real(self, key, most))
    store.entries()
    assert read == []
    in_memory(tmp_path / "other", backend).publish("m", small_model(3))
    read.clear()
    assert store.entry("m").versions == (1, 2, 3, 4)
    assert read == ["models/m/4.json"]


def test_a_process_that_was_forked_after_the_use_of_a_bucket_says_so_and_does_not_hang(tmp_path):
    code = """
import os
from pathlib import Path
from obstore.store import MemoryStore
from models.bucket.objects import Objects
objects = Objects(MemoryStore(), "memory://")
def use():
    try:
        print(len(objects.list("models/")), flush=True)
    except Exception as error:
        print(type(error).__name__, error, flush=True)
use()
if (child := os.fork()) == 0:
    use()
    os._exit(0)
os.waitpid(child, 0)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    first, second = ran.stdout.splitlines()
    assert first == "0"
    assert second.startswith("BucketError memory://: this process was forked from one that has used a bucket")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\n", " a", "é", "a" * 65])
def test_no_name_leads_out_of_its_place(store, name):
    for call in (
        lambda: store.publish(name, small_model()),
        lambda: store.version(name, 1),
        lambda: store.entry(name),
        lambda: store.set_alias(name, "production", 1),
        lambda: store.delete(name, 1),
    ):
        with pytest.raises(InvalidName):
            call()


def test_foreign_objects_are_passed_over(store, bucket):
    store.publish("m", small_model())
    for key in ("models/m/01.json", "models/m/x.json", "models/m/1.json.bak", "models/-m/1.json", "models/1.json"):
        (bucket / key).parent.mkdir(exist_ok=True)
        (bucket / key).write_text("{}")
    assert store.names() == ["m"]
    assert store.entry("m").versions == (1,)
    with pytest.raises(ModelNotFound):
        store.entry("n")


def failing(reason):
    """Returns a function that raises a `BucketError` with the reason."""

    def fail(*_: object) -> None:
        raise BucketError("file://", reason)

    return fail


def test_a_deleted_version_stays_deleted_if_its_deletion_was_cut_short(store, bucket, monkeypatch):
    for seed in range(3):
        store.publish("m", small_model(seed))

    with monkeypatch.context() as patch:
        patch.setattr(Objects, "put", failing("the connection broke off."))
        with pytest.raises(BucketError):
            store.delete("m", 3)
    assert store.entry("m").versions == (1, 2)
    assert store.publish("m", small_model(3)).version == 4
    store.set_alias("m", "production", 2)
    assert store.entry("m").versions == (1, 2, 4)
    with pytest.raises(CheckpointError, match="is not in the store"):
        store.version("m", 3).load()


def test_a_document_that_cannot_be_read_keeps_its_last_known_state_at_every_reading(store, monkeypatch):
    for seed in range(3):
        store.publish("m", small_model(seed))
    store.set_alias("m", "production", 1)
    with monkeypatch.context() as patch:
        patch.setattr(Objects, "put", failing("the connection broke off."))
        with pytest.raises(BucketError):
            store.delete("m", 3)  # the aliases say that 3 is deleted; its note is not written
    follower = open_store(store.address, follow_seconds=0.001)
    follower.expire()
    before = follower.entries()
    assert before[0].versions == (1, 2)
    store.set_alias("m", "staging", 2)
    real = Objects.get
    fail = failing("the bucket answers with status 503.")
    monkeypatch.setattr(
        Objects, "get", lambda self, key, most: fail() if key.endswith("aliases.json") else real(self, key, most)
    )
    for _ in range(3):
        follower.expire()
        [entry] = follower.entries()
        assert "status 503" in entry.problem
        assert (entry.versions, entry.aliases) == (before[0].versions, before[0].aliases)
    monkeypatch.undo()
    follower.expire()
    assert set(follower.entry("m").aliases) == {"production", "staging"}


def test_a_signed_version_is_read_and_any_other_is_refused_by_name(store, bucket, tmp_path):
    new_key_pair(tmp_path / "key.pem")
    trust = Trust.of_files([tmp_path / "key.pem.pub"])
    signed = store.publish("m", small_model(0))
    signed.write_page("README.md", b"about")
    unsigned = store.publish("m", small_model(1))
    statement = sign_version(store.version("m", 1), PrivateKey(tmp_path / "key.pem"))
    assert set(statement.resources) == {"model.safetensors", "README.md"}
    reader = open_store(store.address, trust=trust)
    assert reader.load("m@1").digest == store.load("m@1").digest
    assert reader.version("m", 1).read_signed_header()[1].resources == statement.resources
    assert verify_version(store.version("m", 1), trust).resources == statement.resources
    for refused in (reader.version("m", 2).load, reader.version("m", 2).read_header):
        with pytest.raises(SignatureError, match=r"m/2/model\.safetensors: is not signed"):
            refused()
    # The signature of another version, and a page that was altered afterwards.
    identity = reader.version("m", 2).identity()
    (bucket / "models/m/2.sig").write_bytes((bucket / "models/m/1.sig").read_bytes())
    reader.expire()
    reader.entries()
    assert reader.version("m", 2).identity() != identity
    with pytest.raises(SignatureError, match="is for 'm@1', not for m@2"):
        reader.load("m@2")
    signed.write_page("README.md", b"altered")
    with pytest.raises(SignatureError, match=r"README\.md: was altered"):
        verify_version(store.version("m", 1), trust)
    # Another checkpoint under the number of the signed one.
    record = json.loads((bucket / "models/m/2.json").read_text())
    (bucket / "models/m/1.json").write_text(json.dumps(record | {"version": 1}))
    reader.expire()
    with pytest.raises(SignatureError, match="was altered after it was signed"):
        reader.load("m@1")
    assert unsigned.load()
    store.delete("m", 1)
    assert not (bucket / "models/m/1.sig").exists()
