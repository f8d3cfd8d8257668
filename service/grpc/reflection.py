"""The reflection service of gRPC, by which clients such as grpcurl learn the services and their messages."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from service.errors import InvalidRequest
from service.grpc.frames import OK_TRAILERS
from service.grpc.messages import POOL, message_class, parsed
from service.grpc.methods import fail, request_id_field
from service.grpc.statuses import Code
from service.grpc.stream import Stream
from service.stream.frames import Buffer


class Reflection:
    """The method of one version of the service.

    Args:
        version: version of the service, `v1` or `v1alpha`.
        services: full names of all services.
    """

    takes_many = True

    def __init__(self, version: str, services: Collection[str]) -> None:
        package = f"grpc.reflection.{version}"
        self._request = message_class(f"{package}.ServerReflectionRequest")
        self._response = message_class(f"{package}.ServerReflectionResponse")
        self._services = sorted(services)
        self.path = f"/{package}.ServerReflection/ServerReflectionInfo"

    def handle(self, stream: Stream, message: Buffer, *, is_compressed: bool) -> None:
        """Answers a question."""
        try:
            if is_compressed:
                raise InvalidRequest("A compressed ServerReflectionRequest is not supported.")
            stream.send(self._answer(parsed(self._request, message)).SerializeToString())
        except Exception as error:
            fail(stream, error)

    def end(self, stream: Stream) -> None:
        """Ends the answers after the last question."""
        stream.finish(OK_TRAILERS + request_id_field(stream))

    def refuse(self, stream: Stream, error: Exception) -> None:
        """Ends a call with an error."""
        fail(stream, error)

    def _answer(self, request: Any) -> Any:
        answer = self._response(valid_host=request.host, original_request=request)
        question = request.WhichOneof("message_request")
        try:
            match question:
                case "list_services":
                    for name in self._services:
                        answer.list_services_response.service.add(name=name)
                case "file_by_filename":
                    _add_file(answer, POOL.FindFileByName(request.file_by_filename))
                case "file_containing_symbol":
                    _add_file(answer, POOL.FindFileContainingSymbol(request.file_containing_symbol))
                case "all_extension_numbers_of_type":
                    found = POOL.FindMessageTypeByName(request.all_extension_numbers_of_type)
                    answer.all_extension_numbers_response.base_type_name = found.full_name
                case _:
                    raise KeyError(question)
        except KeyError:
            answer.error_response.error_code = Code.NOT_FOUND
            answer.error_response.error_message = "There is no such file, symbol or extension."
        return answer


def _add_file(answer: Any, file: Any) -> None:
    """Adds the description of a file; no file imports another one."""
    answer.file_descriptor_response.file_descriptor_proto.append(file.serialized_pb)
