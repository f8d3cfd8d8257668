"""The protobuf messages of the services, from `proto/descriptors.binpb`.

They have a pool of their own. In the default pool, these messages and those of a client's package in the same process
would be two definitions of one name, which protobuf refuses.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from service.errors import InvalidRequest
from service.stream.frames import Buffer

POOL = DescriptorPool()
for _file in FileDescriptorSet.FromString((files("service.grpc") / "proto" / "descriptors.binpb").read_bytes()).file:
    POOL.AddSerializedFile(_file.SerializeToString())


def message_class(name: str) -> Any:
    """Returns the class of a message.

    Args:
        name: full name, such as `inference.ModelInferRequest`.
    """
    return GetMessageClass(POOL.FindMessageTypeByName(name))


def parsed(kind: Any, data: Buffer) -> Any:
    """Returns a parsed message.

    Raises:
        InvalidRequest: the bytes are not such a message.
    """
    try:
        return kind.FromString(bytes(data) if isinstance(data, bytearray) else data)
    except DecodeError:
        raise InvalidRequest(f"The message is not a valid {kind.DESCRIPTOR.name}.") from None
