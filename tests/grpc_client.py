"""A gRPC client on grpcio, whose HTTP/2 and protobuf other people have written, and a server with a gRPC port."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving import Server, free_port

grpc = pytest.importorskip("grpc", reason="takes grpcio, the client of these tests")
pytest.importorskip("hpack", reason="takes hpack, which the gRPC door needs")

from service.grpc.messages import message_class  # noqa: E402

INFERENCE = "inference.GRPCInferenceService"
DTYPES = {
    "BOOL": np.bool_,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}
FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


class GrpcServer(Server):
    """A server with a gRPC port."""

    def __init__(self, store: Path, folder: Path, **settings: object) -> None:
        self.grpc_port = free_port()
        super().__init__(store, folder, grpc_port=self.grpc_port, **settings)

    def client(self, **options: Any) -> Client:
        """Returns a client with a connection of its own."""
        return Client(f"127.0.0.1:{self.grpc_port}", **options)


class Client:
    """A client with a connection of its own. Other arguments than the target are options of the channel."""

    def __init__(self, target: str, credentials: Any = None, **options: Any) -> None:
        given = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1), *options.items()]
        self.channel = (
            grpc.insecure_channel(target, given)
            if credentials is None
            else grpc.secure_channel(target, credentials, given)
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def method(self, name: str, service: str = INFERENCE) -> Any:
        """Returns a method with messages of one kind in and out."""
        package = service.rpartition(".")[0]
        kind = "HealthCheck" if service.endswith("Health") else name
        return self.channel.unary_unary(
            f"/{service}/{name}",
            request_serializer=lambda message: message if isinstance(message, bytes) else message.SerializeToString(),
            response_deserializer=message_class(f"{package}.{kind}Response").FromString,
        )

    def call(self, name: str, /, timeout: float = 30, metadata: Any = (), **fields: Any) -> Any:
        """Calls a method of the inference service."""
        request = message_class(f"inference.{name}Request")(**fields)
        return self.method(name)(request, timeout=timeout, metadata=metadata)

    def infer(self, model: str, *inputs: dict[str, Any], raw: Any = (), **fields: Any) -> Any:
        """Calls `ModelInfer`."""
        return self.call("ModelInfer", model_name=model, inputs=inputs, raw_input_contents=list(raw), **fields)


def tensor(name: str, datatype: str, *shape: int, **more: Any) -> dict[str, Any]:
    """Returns an input tensor."""
    return {"name": name, "datatype": datatype, "shape": shape, **more}


def raw_texts(texts: list[str]) -> bytes:
    """Returns texts as raw elements of BYTES."""
    return b"".join(len(text.encode()).to_bytes(4, "little") + text.encode() for text in texts)


def texts_of(raw: bytes) -> list[str]:
    """Returns the texts of raw elements of BYTES."""
    texts = []
    while raw:
        size = int.from_bytes(raw[:4], "little")
        texts.append(raw[4 : 4 + size].decode())
        raw = raw[4 + size :]
    return texts
