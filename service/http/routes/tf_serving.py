"""The routes of TensorFlow Serving's REST protocol beside predictions: status and metadata of models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from models.store_entry import Reference
from service.access import Scope
from service.api_process import ApiProcess
from service.batching.catalog import Catalog
from service.batching.served_version import ServedVersion
from service.errors import ModelUnavailable
from service.http.json_pieces import Members, write_in_steps
from service.http.routes.guard import Guard
from service.http.routes.predict import TF_SERVING_METHODS, TF_SERVING_PATHS
from service.http.wire.tf_serving_format import reference_in
from service.open_inference.description import inputs_of
from service.open_inference.outputs import ModelOutputs

_INPUT_BYTES, _VERSION_BYTES = 300, 100  # estimated bytes of an answer, for its order among other work in steps
_ENDS = tuple(f":{method}" for method in TF_SERVING_METHODS)
_DTYPES = {
    "FP32": "DT_FLOAT",
    "FP64": "DT_DOUBLE",
    "BYTES": "DT_STRING",
    "BOOL": "DT_BOOL",
    "INT64": "DT_INT64",
    "UINT64": "DT_UINT64",
}


def tf_serving_router(process: ApiProcess) -> APIRouter:
    """Returns the routes.

    Args:
        process: API process.
    """
    catalog, steps = process.catalog, process.steps
    # The protocol has a specification of its own, so that the OpenAPI document leaves these routes out.
    router = APIRouter(include_in_schema=False, dependencies=Guard(process.access, Scope.READ).dependencies)

    async def status(request: Request) -> Response:
        parameters = request.path_params
        if request.url.path.endswith(_ENDS):
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "POST"})
        versions = await _versions(catalog, parameters)
        # KServe's client of this protocol asks for `ready`; TensorFlow Serving's read the rest.
        document = {
            "name": Reference.parse(reference_in(parameters)).name,
            "ready": any(problem is None for _, problem in versions),
            "model_version_status": [_status(*version) for version in versions],
        }
        return _json(await write_in_steps(steps, document, _VERSION_BYTES * len(versions)))

    async def metadata(request: Request) -> Response:
        served = await catalog.find(reference_in(request.path_params))
        return _json(await write_in_steps(steps, _metadata(served), _INPUT_BYTES * len(served.schema.columns)))

    async def predict() -> Response:
        raise HTTPException(HTTPStatus.NOT_FOUND)

    for path in TF_SERVING_PATHS:
        for method in TF_SERVING_METHODS:  # answered without ASGI; registered for the answers to other HTTP methods
            router.add_api_route(f"{path}:{method}", predict, name=f"{path}:{method}", methods=["POST"])
        router.add_api_route(f"{path}/metadata", metadata, name=f"{path}/metadata", methods=["GET"])
        router.add_api_route(path, status, name=path, methods=["GET"])
    return router


async def _versions(catalog: Catalog, parameters: Mapping[str, str]) -> list[tuple[int, str | None]]:
    """Returns the versions that a path means, with the reason why a version cannot be served, or None.

    A path without a version and a label means all versions of the model. A version that no request has asked for
    counts as one that can be served, since its first request loads it.

    Raises:
        InvalidRequest: the version is not a whole number.
        InvalidName, ModelNotFound: no such model, version or alias.
        StoreError: the store cannot be read.
    """
    reference = Reference.parse(reference_in(parameters))
    failure = None
    try:
        version = (await catalog.find(reference_in(parameters))).version
    except ModelUnavailable as error:
        if not catalog.has(reference.name):  # the store was not read yet
            raise
        failure, version = str(error), catalog.entry(reference.name).resolve(reference)
    name = reference.name
    if len(parameters) > 1:
        split = catalog.routes.split.get(reference_in(parameters))
        return [(version, failure) for version in ((version,) if split is None else split.versions)]
    return [
        (version, None if catalog.is_ready(name, version) else catalog.problems.get(f"{name}@{version}") or failure)
        for version in catalog.entry(name).versions
    ]


def _status(version: int, problem: str | None) -> dict[str, Any]:
    """Returns an entry of `model_version_status`."""
    error = {"error_code": "OK", "error_message": ""}
    if problem is not None:
        error = {"error_code": "UNAVAILABLE", "error_message": problem}
    return {"version": str(version), "state": "AVAILABLE" if problem is None else "END", "status": error}


def _metadata(served: ServedVersion) -> dict[str, Any]:
    """Returns the metadata of a model version.

    TensorFlow Serving spells the members with underscores. OpenVINO Model Server, whose client is for both, spells
    them in camel case. Each member with two spellings is there twice.
    """
    spec = {"name": served.name, "signature_name": "", "version": str(served.version)}
    signatures = {
        "signature_def": Members([("serving_default", _signature(served, "tensor_shape", "method_name"))]),
        "signatureDef": Members([("serving_default", _signature(served, "tensorShape", "methodName"))]),
    }
    return {
        "model_spec": spec,
        "modelSpec": {"name": served.name, "signatureName": "", "version": str(served.version)},
        "metadata": {"signature_def": Members(signatures.items())},
    }


def _signature(served: ServedVersion, shape_key: str, method_key: str) -> Members:
    """Returns the inputs and outputs of a model; their descriptions are made during writing."""
    described = {"inputs": inputs_of(served), "outputs": ModelOutputs(served).descriptions}
    members = [(key, Members(_tensors(tensors, shape_key))) for key, tensors in described.items()]
    return Members([*members, (method_key, "tensorflow/serving/predict")])


def _tensors(tensors: Iterable[tuple[str, str, tuple[int, ...]]], shape_key: str) -> Iterator[tuple[str, Any]]:
    """Yields the description of each tensor by name; -1 stands for the number of rows."""
    for name, datatype, shape in tensors:
        dimensions = [{"size": str(size), "name": ""} for size in shape]
        yield name, {"dtype": _DTYPES[datatype], shape_key: {"dim": dimensions}, "name": ""}


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
