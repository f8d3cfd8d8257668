"""Scoring from a bucket into a bucket over S3's protocol, with moto's server, which is not ours."""

from __future__ import annotations

import os
import time
from pathlib import Path

import obstore
import pyarrow as pa
import pytest
import scored_tables
from obstore.store import from_url
from serving import http_client

from axon.cli import main
from models.bucket.objects import _PART_BYTES


@pytest.fixture
def bucket(s3: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """Returns the URL of a new bucket."""
    name = f"bucket-{time.time_ns()}"
    with http_client() as client:
        assert client.put(f"http://127.0.0.1:{s3}/{name}").status_code == 200
    for variable, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(variable, value)
    return f"s3://{name}"


def score(folder: Path, source: object, out: object, *options: str) -> int:
    given = ["--model", "numbers", "--store", str(folder / "store"), "--out", str(out), "--device", "cpu"]
    return main(["score", str(source), *given, "--keep", "id", "--part-rows", "5000", *options])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scored")
    scored_tables.make_store(folder / "store")
    (folder / "rows").mkdir()
    for name in ("a b.parquet", "c=1,(ü)#%.parquet"):
        scored_tables.write(scored_tables.numbers().slice(0, 20_000), folder / "rows" / name, row_group_size=5_000)
    return folder


def put(bucket: str, folder: Path) -> None:
    store = from_url(bucket, client_options={"allow_http": True})
    for path in folder.rglob("*.*"):
        obstore.put(store, f"{folder.name}/{path.relative_to(folder)}", path)


def objects(bucket: str, folder: str) -> dict[str, bytes]:
    store = from_url(bucket, client_options={"allow_http": True})
    listed = [one["path"] for chunk in obstore.list(store, f"{folder}/") for one in chunk]
    return {path.removeprefix(f"{folder}/"): bytes(obstore.get(store, path).bytes()) for path in listed}


def test_a_folder_in_s3_gives_the_bytes_of_a_disk(bucket: str, folder: Path, tmp_path: Path) -> None:
    put(bucket, folder / "rows")
    assert score(folder, folder / "rows", tmp_path / "out") == 0
    for shard in ("1/2", "0/2", "0/1"):
        assert score(folder, f"{bucket}/**/*.parquet", f"{bucket}/out", "--shard", shard) == 0
    found = objects(bucket, "out")
    expected = {str(p.relative_to(tmp_path / "out")): p.read_bytes() for p in (tmp_path / "out").rglob("*.*")}
    assert found.pop("_axon/manifest.json") != expected.pop("_axon/manifest.json")
    assert found == expected
    assert len(found) == 17


def test_a_large_answer_goes_up_in_parts(bucket: str, folder: Path, tmp_path: Path) -> None:
    many = pa.concat_tables([scored_tables.numbers()] * 12)
    path = scored_tables.write(many, tmp_path / "rows.csv")
    put(bucket, tmp_path)
    assert score(folder, path, tmp_path / "out.csv") == 0
    assert (tmp_path / "out.csv").stat().st_size > 2 * _PART_BYTES
    assert score(folder, f"{bucket}/{tmp_path.name}/rows.csv", f"{bucket}/deep/out.csv") == 0
    assert objects(bucket, "deep")["out.csv"] == (tmp_path / "out.csv").read_bytes()


def test_an_object_that_is_replaced_is_refused(
    bucket: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(bucket, folder / "rows")
    assert score(folder, f"{bucket}/rows", f"{bucket}/out", "--shard", "0/4") == 0
    other = scored_tables.write(scored_tables.numbers().slice(7, 20_000), tmp_path / "b.parquet", row_group_size=5_000)
    obstore.put(from_url(bucket, client_options={"allow_http": True}), "rows/a b.parquet", other)
    assert score(folder, f"{bucket}/rows", f"{bucket}/out", "--shard", "1/4") == 2
    assert f"the source's file a b.parquet has changed since {bucket}/out was begun" in capsys.readouterr().err


def test_a_bucket_that_is_not_there_is_said(bucket: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert score(folder, f"{bucket}-none/rows", f"{bucket}/out") in (2, os.EX_TEMPFAIL)
    assert "there is no" in capsys.readouterr().err
