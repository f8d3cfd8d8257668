"""The ceiling of gRPC in Python: `grpc.aio` that sends each message back unparsed."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import uvloop

from benchmarks.infer_messages import INFER
from benchmarks.model import server_arguments


async def echo(message: bytes, context: grpc.aio.ServicerContext) -> bytes:
    """Returns the message."""
    return message


async def serve(port: int) -> None:
    """Serves until the process is stopped."""
    _, service, method = INFER.split("/")
    server = grpc.aio.server()
    handlers = {method: grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(serve(server_arguments().port))
