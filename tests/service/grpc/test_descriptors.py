"""The committed descriptors, beside what protoc makes of the `.proto` files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

PROTO = Path(__file__).parents[3] / "service/grpc/proto"


def test_the_descriptors_are_those_of_the_proto_files(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="takes grpcio-tools")
    made = tmp_path / "descriptors.binpb"
    files = sorted(path.name for path in PROTO.glob("*.proto"))
    command = [sys.executable, "-W", "ignore", "-m", "grpc_tools.protoc", f"-I{PROTO}", f"--descriptor_set_out={made}"]
    subprocess.run([*command, *files], check=True)
    assert FileDescriptorSet.FromString(made.read_bytes()) == FileDescriptorSet.FromString(
        (PROTO / "descriptors.binpb").read_bytes()
    )
