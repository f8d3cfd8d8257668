"""The calls beside `ModelInfer`: health, metadata, configuration, statistics and the model repository."""

from __future__ import annotations

from typing import Any

from service.access import Scope
from service.api_process import ApiProcess
from service.batching.served_version import ServedVersion
from service.errors import InvalidRequest
from service.grpc.infer_requests import reference_of
from service.grpc.messages import message_class
from service.grpc.methods import UnaryMethod
from service.grpc.stream import Method
from service.open_inference.description import model_config, model_metadata, server_metadata
from service.open_inference.readiness import readiness
from service.open_inference.statistics import Statistics
from service.time_slices import in_slices

SERVICE = "inference.GRPCInferenceService"


def _class(name: str) -> Any:
    return message_class(f"inference.{name}")


class ModelCalls:
    """The calls of one API process.

    Args:
        process: API process.
    """

    def __init__(self, process: ApiProcess) -> None:
        self._process = process
        self._catalog = process.catalog
        self._statistics = Statistics(process.metrics)

    def methods(self) -> dict[str, tuple[Method, Scope | None]]:
        """Returns the methods and their scopes, by path."""
        calls = {
            "ServerLive": (self.server_live, None),
            "ServerReady": (self.server_ready, None),
            "ModelReady": (self.model_ready, Scope.READ),
            "ServerMetadata": (self.server_metadata, Scope.READ),
            "ModelMetadata": (self.model_metadata, Scope.READ),
            "ModelConfig": (self.model_config, Scope.READ),
            "ModelStatistics": (self.model_statistics, Scope.READ),
            "RepositoryIndex": (self.repository_index, Scope.READ),
            "RepositoryModelLoad": (self.load, Scope.MANAGE),
            "RepositoryModelUnload": (self.unload, Scope.MANAGE),
        }
        return {
            f"/{SERVICE}/{name}": (UnaryMethod(f"inference.{name}Request", call), scope)
            for name, (call, scope) in calls.items()
        }

    async def server_live(self, _: Any) -> Any:
        """Reports a running process."""
        return _class("ServerLiveResponse")(live=True)

    async def server_ready(self, _: Any) -> Any:
        """Reports whether predictions will be answered."""
        return _class("ServerReadyResponse")(ready=self._process.not_ready() is None)

    async def model_ready(self, request: Any) -> Any:
        """Reports whether a model version is ready."""
        return _class("ModelReadyResponse")(ready=readiness(self._catalog, _reference(request)) is True)

    async def server_metadata(self, _: Any) -> Any:
        """Describes the server."""
        return _class("ServerMetadataResponse")(**server_metadata())

    async def model_metadata(self, request: Any) -> Any:
        """Describes the inputs and outputs of a model."""
        served = await self._find(request)
        document = model_metadata(served, self._catalog.entry(served.name).versions)
        return await _filled(_class("ModelMetadataResponse"), document, "inputs", "outputs")

    async def model_config(self, request: Any) -> Any:
        """Describes a model in the form of Triton's configuration."""
        served = await self._find(request)
        document = model_config(served, self._process.settings.max_request_rows)
        return _class("ModelConfigResponse")(config=await _filled(_class("ModelConfig"), document, "input", "output"))

    async def model_statistics(self, request: Any) -> Any:
        """Returns the statistics of one version, or of all that are ready."""
        versions = [await self._find(request)] if request.name else self._catalog.ready_versions()
        statistics = await self._statistics.read([(served.name, str(served.version)) for served in versions])
        return await _filled(_class("ModelStatisticsResponse"), {"model_stats": statistics}, "model_stats")

    async def repository_index(self, request: Any) -> Any:
        """Lists all versions in the store, each with its state."""
        catalog, answer = self._catalog, _class("RepositoryIndexResponse")()
        async for entry in in_slices(catalog.entries()):
            for version in entry.versions:
                is_ready = catalog.is_ready(entry.name, version)
                if is_ready or not request.ready:
                    state = "READY" if is_ready else "UNAVAILABLE"
                    answer.models.add(name=entry.name, version=str(version), state=state)
        return answer

    async def load(self, request: Any) -> Any:
        """Takes in the store, and loads a model."""
        for name in request.parameters:
            if name == "config" or name.startswith("file:"):
                raise InvalidRequest(f"The parameter {name[:60]!r} is not supported: models come from the store alone.")
        name = _managed(request)
        await self._process.loading.load(name)
        return _class("RepositoryModelLoadResponse")(model_name=name, isLoaded=True)

    async def unload(self, request: Any) -> Any:
        """Stops serving a model until the next call to load the model."""
        name = _managed(request)
        await self._process.loading.unload(name)
        return _class("RepositoryModelUnloadResponse")(model_name=name, isUnloaded=True)

    async def _find(self, request: Any) -> ServedVersion:
        """Returns the model version of a request, which is loaded first if necessary."""
        return await self._catalog.find(_reference(request))


def _reference(request: Any) -> str | None:
    return reference_of(request.name, request.version)


def _managed(request: Any) -> str:
    """Returns the model of a request to the repository: KServe's clients have its name in the first field."""
    name: str = request.model_name or request.repository_name
    if not name:
        raise InvalidRequest("The request has no model_name.")
    return name


async def _filled(kind: Any, document: dict[str, Any], *long: str) -> Any:
    """Returns a message with the values of a document.

    Args:
        kind: class of the message.
        document: values by name.
        long: names of lists that grow with the model, which are added in slices of time.
    """
    message = kind(**{name: value for name, value in document.items() if name not in long})
    for name in long:
        elements = getattr(message, name)
        async for value in in_slices(document[name]):
            elements.add(**_known(elements, value))
    return message


def _known(elements: Any, value: dict[str, Any]) -> dict[str, Any]:
    """Returns the values whose names are fields of the elements of a list."""
    if not elements:
        fields = elements.add().DESCRIPTOR.fields_by_name
        del elements[:]
    else:
        fields = elements[0].DESCRIPTOR.fields_by_name
    return {name: part for name, part in value.items() if name in fields}
