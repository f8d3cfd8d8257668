"""A source and a destination in a bucket give the bytes of those on a disk, whatever happens in the middle."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from s3_server import S3Server
from scored_tables import write
from serving import wait_until

from axon.cli import main
from scoring import bucket_calls

ROOT = Path(__file__).parents[2]
PARTS = ("--part-rows", "5000")


@pytest.fixture
def s3(monkeypatch):
    monkeypatch.setattr(bucket_calls, "_WAITS_SECONDS", (0.1, 0.2))
    with S3Server() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture(scope="module")
def rows(numbers, tmp_path_factory):
    """Two Parquet files, together twelve parts of five thousand rows, of which two do not fit."""
    folder = tmp_path_factory.mktemp("rows")
    x1 = numbers["x1"].to_numpy().copy()
    x1[12_345] = x1[49_999] = np.nan
    table = numbers.set_column(2, "x1", [x1])
    write(table, folder / "a.parquet", row_group_size=5_000)
    (folder / "year=2026").mkdir()
    write(table.slice(0, 10_000), folder / "year=2026/b.parquet", row_group_size=2_500)
    return folder


def put(server: S3Server, folder: Path, key: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            server.objects[f"{key}/{path.relative_to(folder)}"] = path.read_bytes()


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def without_manifest(files: dict[str, bytes]) -> dict[str, bytes]:
    """Leaves out the manifest, which has ETags in a bucket and times on a disk."""
    assert "_axon/manifest.json" in files
    return {name: data for name, data in files.items() if name != "_axon/manifest.json"}


def command(store, source: object, out: object, *options: str) -> list[str]:
    given = ["score", str(source), "--model", "numbers", "--store", str(store.root), "--out", str(out)]
    return [*given, "--device", "cpu", "--keep", "id", *options]


def score(store, source: object, out: object, *options: str) -> int:
    return main(command(store, source, out, *options))


@pytest.mark.parametrize("source", ["rows", "rows/", "rows/**/*.parquet", "row?/**", "rows/*"])
def test_a_folder_and_a_pattern_give_the_bytes_of_a_disk(store, rows, s3, tmp_path, source):
    put(s3, rows, "data/rows")
    put(s3, rows, "data/rows/_temporary")
    s3.objects["data/rows/.hidden.parquet"] = b"no rows"
    s3.objects["data/rows/year=2026/"] = b""  # what some tools make of a folder
    assert score(store, rows, tmp_path / "out", *PARTS, "--errors", "null") == 0
    if source.startswith("row?"):
        put(s3, rows, "data/other")
    assert score(store, f"s3://data/{source}", "s3://data/answers", *PARTS, "--errors", "null") == 0
    expected, found = without_manifest(tree(tmp_path / "out")), without_manifest(s3.below("data/answers"))
    if source.startswith("row?"):  # the names in the faults have the folder, where the pattern begins before the folder
        expected = {name: data for name, data in expected.items() if "faults" not in name}
        found = {name: data for name, data in found.items() if "faults" not in name}
    assert found == expected
    assert len([name for name in found if name.endswith(".parquet")]) == 12


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".arrow", ".arrows", ".parquet"])
@pytest.mark.parametrize("out", ["answers.csv", "answers.parquet"])
def test_each_format_and_a_single_file_give_the_bytes_of_a_disk(store, numbers, s3, tmp_path, suffix, out):
    path = tmp_path / f"t{suffix}"
    if suffix == ".csv.gz":
        path.write_bytes(gzip.compress(write(numbers, tmp_path / "plain.csv").read_bytes()))
    elif suffix == ".arrows":
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, numbers.schema) as writer:
            writer.write_table(numbers, max_chunksize=7_000)
    elif suffix == ".arrow":
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, numbers.schema) as writer:
            writer.write_table(numbers, max_chunksize=7_000)
    else:
        write(numbers, path)
    s3.objects[f"data/t{suffix}"] = path.read_bytes()
    assert score(store, path, tmp_path / out) == 0
    assert score(store, f"s3://data/t{suffix}", f"s3://data/{out}") == 0
    assert s3.objects[f"data/{out}"] == (tmp_path / out).read_bytes()
    assert score(store, f"s3://data/t{suffix}", tmp_path / "to" / out) == 2  # no folder
    assert score(store, path, f"s3://data/deep/er/{out}") == 0
    assert s3.objects[f"data/deep/er/{out}"] == (tmp_path / out).read_bytes()


def test_a_finished_job_reads_no_row_again_and_another_one_is_refused(store, rows, s3, capsys):
    put(s3, rows, "data/rows")
    assert score(store, "s3://data/rows", "s3://data/out", *PARTS, "--errors", "skip") == 0
    s3.requests.clear()
    capsys.readouterr()
    assert score(store, "s3://data/rows", "s3://data/out", *PARTS, "--errors", "skip") == 0
    assert "in 12 parts, 12 of them before" in capsys.readouterr().err
    assert not [request for request in s3.requests if request.method == "PUT" or "delete" in request.query]
    assert score(store, "s3://data/rows", "s3://data/out", *PARTS, "--errors", "null") == 2
    assert "s3://data/out was begun with --errors skip, not null" in capsys.readouterr().err
    s3.objects["data/rows/a.parquet"] = s3.objects["data/rows/year=2026/b.parquet"]
    assert score(store, "s3://data/rows", "s3://data/out", *PARTS, "--errors", "skip") == 2
    assert "the source's file a.parquet has changed since s3://data/out was begun" in capsys.readouterr().err


@pytest.mark.slow
def test_a_job_that_is_killed_goes_on_to_the_same_bytes(store, rows, s3, tmp_path):
    put(s3, rows, "data/rows")
    assert score(store, rows, tmp_path / "out", *PARTS, "--errors", "null") == 0
    given = command(store, "s3://data/rows", "s3://data/out", *PARTS, "--errors", "null")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    for seen in ("out/_axon/manifest.json", "out/part-00001.parquet", "out/_axon/faults", "out/_axon/parts/part-00007"):
        process = subprocess.Popen([sys.executable, "-m", "axon", *given], env=environment, stderr=subprocess.DEVNULL)
        wait_until(
            lambda seen=seen, process=process: (
                any(key.startswith(f"data/{seen}") for key in list(s3.objects)) or process.poll() is not None
            )
        )
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(s3.below("data/out/_axon/parts")) < 12
    assert score(store, "s3://data/rows", "s3://data/out", *PARTS, "--errors", "null") == 0
    assert without_manifest(s3.below("data/out")) == without_manifest(tree(tmp_path / "out"))


def test_two_shards_that_begin_together_make_the_whole(store, rows, s3, tmp_path, capsys):
    put(s3, rows, "data/rows")
    assert score(store, rows, tmp_path / "out", *PARTS, "--errors", "null") == 0
    codes = []

    def work(shard: str) -> None:
        codes.append(score(store, "s3://data/rows", "s3://data/out", *PARTS, "--errors", "null", "--shard", shard))

    threads = [threading.Thread(target=work, args=(f"{i}/2",)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0, 0]
    assert without_manifest(s3.below("data/out")) == without_manifest(tree(tmp_path / "out"))


def test_an_object_that_is_replaced_in_the_middle_is_refused(store, numbers, s3, tmp_path, capsys):
    path = write(numbers, tmp_path / "t.parquet", row_group_size=5_000)
    other = write(numbers.slice(7), tmp_path / "other.parquet", row_group_size=5_000)
    s3.objects["data/t.parquet"] = path.read_bytes()

    def replace(method: str, key: str) -> None:
        if key == "data/out/_axon/parts/part-00002.json" and method == "PUT":
            s3.objects["data/t.parquet"] = other.read_bytes()

    s3.fault = replace
    assert score(store, "s3://data/t.parquet", "s3://data/out", *PARTS) == 2
    assert "s3://data/t.parquet changed while it was read: score it again" in capsys.readouterr().err
    assert "out/part-00009.parquet" not in s3.below("data")


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".arrows", ".arrow"])
def test_bytes_of_two_objects_are_never_mixed(store, numbers, s3, tmp_path, capsys, suffix):
    many = pa.concat_tables([numbers] * 8)
    path = tmp_path / f"t{suffix}"
    if suffix.startswith(".arrow"):
        make = pa.ipc.new_file if suffix == ".arrow" else pa.ipc.new_stream
        with pa.OSFile(str(path), "wb") as sink, make(sink, many.schema) as writer:
            writer.write_table(many)
    else:
        write(many, path)
    content = path.read_bytes()
    s3.objects["data/t"] = s3.objects[f"data/t{suffix}"] = content
    heads = []

    def replace(method: str, key: str) -> None:
        if key == f"data/t{suffix}":
            heads.extend([key] * (method == "HEAD"))
            # From the look before the part on, but not for the looks: only the requests for the rows can tell.
            s3.objects[key] = content[:-9] + bytes(9) if method == "GET" and len(heads) > 1 else content

    s3.fault = replace
    assert score(store, f"s3://data/t{suffix}", "s3://data/out") == 2
    assert f"s3://data/t{suffix} changed while it was read" in capsys.readouterr().err
    assert not s3.below("data/out/_axon/parts")


@pytest.mark.parametrize("fault", ["500", "403", "cut", "half"])
@pytest.mark.parametrize("place", ["rows", "answers"])
def test_a_bucket_that_fails_ends_the_job_and_the_same_command_goes_on(store, rows, s3, tmp_path, capsys, fault, place):
    put(s3, rows, "data/rows")
    given = ("s3://data/rows/a.parquet", "s3://data/answers", *PARTS, "--errors", "null")
    begun = []

    def fail(method: str, key: str) -> str | None:
        begun.extend([key] * (key == "data/answers/_axon/parts/part-00003.json"))
        is_hit = key.startswith(f"data/{place}/") and (method == "GET" if place == "rows" else method == "PUT")
        return fault if begun and is_hit else None

    s3.fault = fail
    if place == "answers" and fault == "half":
        pytest.skip("an answer without a body is never half")
    assert score(store, *given) == os.EX_TEMPFAIL
    message = capsys.readouterr().err
    assert message.startswith("error: s3://data: the bucket")
    assert "secret" not in message
    assert "AKIA" not in message
    assert 0 < len(s3.below("data/answers/_axon/parts")) < 10
    s3.fault = lambda _method, _key: None
    assert score(store, *given) == 0
    assert score(store, rows / "a.parquet", tmp_path / "out", *PARTS, "--errors", "null") == 0
    assert without_manifest(s3.below("data/answers")) == without_manifest(tree(tmp_path / "out"))


@pytest.mark.parametrize("fault", ["500", "cut", "slow", "half", "lost"])
def test_single_faults_do_not_end_the_job(store, rows, s3, tmp_path, fault):
    put(s3, rows, "data/rows")
    seen: dict[str, int] = {}

    def fail(method: str, key: str) -> str | None:
        seen[f"{method} {key}"] = seen.get(f"{method} {key}", 0) + 1
        return fault if seen[f"{method} {key}"] == 1 and (fault != "half" or method == "GET") else None

    s3.fault = fail
    assert score(store, "s3://data/rows", "s3://data/out", *PARTS, "--errors", "null") == 0
    s3.fault = lambda _method, _key: None
    assert score(store, rows, tmp_path / "out", *PARTS, "--errors", "null") == 0
    assert without_manifest(s3.below("data/out")) == without_manifest(tree(tmp_path / "out"))


def test_a_bucket_that_is_gone_is_said(store, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bucket_calls, "_WAITS_SECONDS", ())
    with S3Server() as server:
        environment = server.environment
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert score(store, "s3://data/rows", tmp_path / "out") == os.EX_TEMPFAIL
    assert "nothing answers at its address (connection refused)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mark", "what"),
    [("_delta_log/0.json", "a Delta Lake table"), (".hoodie/x", "a Hudi"), ("metadata/v1.metadata.json", "an Iceberg")],
)
def test_lakes_are_refused(store, rows, s3, capsys, mark, what):
    put(s3, rows, "data/lake/rows")
    s3.objects[f"data/lake/rows/{mark}"] = b"{}"
    for source in ("lake/rows", "lake", "lake/*", "lake/rows/*.parquet", "lake/**/*.parquet"):
        assert score(store, f"s3://data/{source}", "s3://data/out") == 2
        message = capsys.readouterr().err
        assert f"s3://data/lake/rows is {what}" in message
        assert "deleted or replaced" in message
    assert not s3.below("data/out")


def test_places_that_do_not_go_together_are_refused(store, rows, s3, capsys):
    put(s3, rows, "data/rows")
    s3.objects["data/mine/a.txt"] = s3.objects["data/mine.csv"] = b"mine"

    def refusal(source: str, out: str, *options: str) -> str:
        assert score(store, source, out, *options) == 2
        return capsys.readouterr().err

    assert "s3://data/rows/out lies in s3://data/rows" in refusal("s3://data/rows", "s3://data/rows/out")
    assert "holds s3://data/rows/a.parquet, which is to be scored" in refusal("s3://data/rows/*", "s3://data/rows")
    assert "holds objects that axon score did not write" in refusal("s3://data/rows", "s3://data/mine")
    assert "s3://data/mine.csv exists: remove it" in refusal("s3://data/rows", "s3://data/mine.csv")
    assert "is a whole bucket: name a folder in it" in refusal("s3://data/rows", "s3://data")
    assert "there is no file s3://data/none, and no file of rows below it" in refusal("s3://data/none", "s3://data/out")
    assert "no object matches 's3://data/n*'" in refusal("s3://data/n*", "s3://data/out")
    assert "mine/a.txt" not in refusal("s3://data/mine/a.txt", "s3://data/text")  # a CSV file that lacks the columns
    assert "a web server takes no answers" in refusal("s3://data/rows", f"{s3.url}/data/out")
    for url in (
        "s3://user:password@data/rows",
        "s3://data/rows?X-Amz-Signature=password",
        "https://a:password@b/c.csv",
    ):
        message = refusal(url, "s3://data/out")
        assert "password" not in message.replace("a name and a password in it", "")
    assert "ftp:// is not known" in refusal("ftp://data/rows", "s3://data/out")
    assert score(store, "s3://data/**/*.parquet", "s3://data/out", *PARTS, "--errors", "null") == 0
    assert score(store, "s3://data/**/*.parquet", "s3://data/out", *PARTS, "--errors", "null") == 0
    assert "12 of them before" in capsys.readouterr().err


def test_a_file_url_is_the_path(store, rows, tmp_path):
    assert score(store, f"file://{rows}/**/*.parquet", f"file://{tmp_path}/a%20b", *PARTS, "--errors", "null") == 0
    assert score(store, rows / "**/*.parquet", tmp_path / "out", *PARTS, "--errors", "null") == 0
    assert tree(tmp_path / "a b") == tree(tmp_path / "out")


def test_a_disk_needs_no_client_of_buckets(store, rows, tmp_path):
    code = "import sys; from axon.cli import main; sys.exit(main(sys.argv[1:]) or 'obstore' in sys.modules)"
    given = command(store, rows, tmp_path / "out", "--errors", "null")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code, *given], env=environment, check=True, timeout=60)


def test_a_missing_client_is_named(store, tmp_path, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith(("scoring.bucket_", "models.bucket.ranged"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "obstore", None)
    for source, out in (("s3://data/rows", tmp_path / "out"), (tmp_path / "rows.csv", "s3://data/out")):
        assert score(store, source, out) == 2
        assert "this needs the part 'bucket' of Axon" in capsys.readouterr().err
