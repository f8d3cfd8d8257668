"""A store opens by what a user writes: a path or a URL, of which a wrong one is named without its credentials."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from models.bucket.address import BucketAddress, url_of
from models.bucket.objects import Objects
from models.errors import StoreError
from models.open_store import open_store
from models.store import Store

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("place", ["models", "/srv/models", "s3", "a:b", "C:/models", ".", "s3:/models"])
def test_a_path_is_a_folder(place):
    for given in (place, Path(place)) if not place.startswith("s3:") else (place,):
        assert url_of(given) is None
        opened = open_store(given)
        assert isinstance(opened, Store)
        assert opened.folder == Path(place)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("s3://bucket", "s3://bucket"),
        ("S3://bucket/a//b/", "s3://bucket/a/b"),
        ("gs://bucket/prefix", "gs://bucket/prefix"),
        ("az://container/x=1", "az://container/x=1"),
        ("file:///srv/models/", "file:///srv/models"),
        ("file:///srv/a@b", "file:///srv/a@b"),
    ],
)
def test_a_url_has_one_form(text, url):
    assert BucketAddress.parse(text).url == url
    assert url_of(text) == text


def test_a_url_that_was_made_a_path_is_the_url():
    assert url_of(Path("s3://bucket/prefix")) == "s3://bucket/prefix"
    assert url_of(Path("file:///srv/models")) == "file:///srv/models"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("s3://key:hidden-word@bucket/x", "credentials belong into environment variables"),
        ("az://account/x?sig=hidden-word", "credentials belong into environment variables"),
        ("s3://key:hidden-word/x@bucket/x", "credentials belong into environment variables"),
        ("s3://key:[hidden-word@bucket/x", "the URL of a store cannot be read"),
        ("s3://../models", "is not the URL of a store"),
        ("s3://bucket:9000/models", "is not the URL of a store"),
        ("http://example.org/models", "is not a store"),
        ("ftp://example.org", "is not a store"),
        ("s3://", "is not the URL of a store"),
        ("s3:///prefix", "is not the URL of a store"),
        ("s3://bucket/../other", "is not the URL of a store"),
        ("s3://bucket/a b", "is not the URL of a store"),
        ("file://", "is not the URL of a folder"),
        ("file://host/path", "is not the URL of a folder"),
    ],
)
def test_a_wrong_url_is_named_without_its_credentials(text, reason):
    with pytest.raises(StoreError, match=reason) as refused:
        open_store(text)
    assert "hidden-word" not in str(refused.value)


def test_an_open_store_is_itself(tmp_path):
    store = Store(tmp_path)
    assert open_store(store) is store


def test_the_missing_package_is_named_and_a_folder_does_not_need_it(tmp_path):
    code = """
import sys
sys.modules["obstore"] = None
from models.open_store import open_store
assert open_store(sys.argv[1]).names() == []
try:
    open_store("s3://bucket")
except Exception as error:
    print(type(error).__name__, error)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith("StoreError this needs the part 'bucket' of Axon, and 'obstore' is not installed")


@pytest.mark.parametrize("name", ["AZURE_ENDPOINT", "AZURE_STORAGE_ENDPOINT", "AWS_ENDPOINT_URL_S3", "GOOGLE_BASE_URL"])
def test_the_same_url_behind_two_endpoints_is_two_places(name, monkeypatch):
    for variable, value in (
        ("AZURE_STORAGE_ACCOUNT_NAME", "account"),
        ("AZURE_STORAGE_ACCOUNT_KEY", "a2V5"),
        ("AWS_REGION", "nowhere"),
    ):
        monkeypatch.setenv(variable, value)
    scheme = {"AZ": "az", "AW": "s3", "GO": "gs"}[name[:2]]
    places = set()
    for port in (9001, 9002, 9001):
        monkeypatch.setenv(name, f"https://localhost:{port}")
        places.add(Objects.open(BucketAddress.parse(f"{scheme}://models/store")).place)
    assert len(places) == 2


# Prints the problem. The check forks, and a process of the tests may have used a bucket before: no fork of such a
# process can use one. `os.read` takes no lock, which the fork would keep.
STOPPED_CHECK = """
import os, sys, threading
from pathlib import Path
from service.bucket_check import check_bucket
from service.stop_signals import PipeEvent
stop = PipeEvent()
threading.Thread(target=lambda: (os.read(0, 1), stop.set())).start()
print(check_bucket("s3://models/store", Path(sys.argv[1]), 1 << 30, None, stop).problem)
"""


def test_a_stop_ends_the_wait_for_a_silent_bucket(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        environment = os.environ | {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_REGION": "nowhere",
        }
        command = [sys.executable, "-c", STOPPED_CHECK, str(tmp_path / "cache")]
        check = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            with silent.accept()[0]:  # the connection stays open while the check stops
                began = time.monotonic()
                said, _ = check.communicate("stop\n", timeout=45)
        finally:
            check.kill()
            check.wait()
    assert said == "the server was stopped while the bucket was asked.\n"
    assert time.monotonic() - began < 45, "it would be asked for 90 s"
