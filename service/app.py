"""The HTTP application: routes, their documentation, and every error as a problem document."""

from __future__ import annotations

from http import HTTPStatus
from importlib.metadata import version

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from models.errors import AxonError
from service.errors import MEDIA_TYPE, Problem, invalid_request, problem_of
from service.logs import get_logger
from service.routes.predict import REQUEST_ID_HEADER, accepted_request_id
from service.schemas import PredictRequest, PredictResponse, ProblemDocument

PREDICT_PATH = "/predict"

_DESCRIPTION = """Multi-layer perceptrons, served in batches.

`GET /models` lists what is served, and `GET /models/{id}` gives a model's columns and a request that it answers.
Errors are `application/problem+json` with the row and the column that was wrong."""

_PREDICT_EXAMPLES = {
    "lists": {
        "summary": "A row as a list, in column order",
        "value": {"model": "iris", "instances": [[5.1, 3.5, 1.4, 0.2]]},
    },
    "objects": {
        "summary": "Rows as objects, by column name",
        "value": {"model": "xor", "instances": [{"x1": 0, "x2": 1}, {"x1": 1, "x2": 1}]},
    },
}

_PREDICT_PROBLEMS = {
    HTTPStatus.NOT_FOUND: "No such model, version or alias.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Too many bytes or rows.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "A row or the body is wrong; `errors` says where.",
    HTTPStatus.TOO_MANY_REQUESTS: "The model's queue is full; `Retry-After` says when to try again.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "The model failed on these rows.",
    HTTPStatus.SERVICE_UNAVAILABLE: "The model cannot be loaded.",
    HTTPStatus.GATEWAY_TIMEOUT: "The deadline passed.",
}

log = get_logger(__name__)


class PredictRoute(APIRoute):
    """`POST /predict` in the router and in the documentation; the request itself goes to the ASGI endpoint."""

    def __init__(self, endpoint: ASGIApp) -> None:
        async def predict(request: PredictRequest) -> PredictResponse:
            raise NotImplementedError("documentation only: `handle` hands requests to the endpoint")

        super().__init__(
            PREDICT_PATH,
            predict,
            methods=["POST"],
            summary="Predict rows with a model",
            tags=["predict"],
            response_model=PredictResponse,
            response_model_exclude_none=True,
            responses={
                int(status): {"description": text, "content": {MEDIA_TYPE: {"schema": _PROBLEM_SCHEMA}}}
                for status, text in _PREDICT_PROBLEMS.items()
            },
            openapi_extra={"requestBody": {"content": {"application/json": {"examples": _PREDICT_EXAMPLES}}}},
        )
        self._endpoint = endpoint

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on; another method is the router's to refuse."""
        if scope["method"] == "POST":
            await self._endpoint(scope, receive, send)
        else:
            await super().handle(scope, receive, send)


_PROBLEM_SCHEMA = {"$ref": f"#/components/schemas/{ProblemDocument.__name__}"}


def create_app(predict: ASGIApp, routers: list[APIRouter]) -> FastAPI:
    """The application over its endpoints.

    Args:
        predict: the ASGI application behind `POST /predict`.
        routers: everything else.
    """
    app = FastAPI(
        title="Axon",
        version=version("axon"),
        description=_DESCRIPTION,
        redirect_slashes=False,
        responses={422: {"model": ProblemDocument, "description": "A parameter is wrong."}},
    )
    app.router.routes.append(PredictRoute(predict))
    for router in routers:
        app.include_router(router)

    @app.get("/", include_in_schema=False)
    async def index() -> RedirectResponse:
        return RedirectResponse("/docs")

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        status = HTTPStatus(error.status_code)
        code = status.phrase.lower().replace(" ", "-")
        return _respond(request, Problem(status, code, str(error.detail), headers=error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def on_invalid_parameter(request: Request, error: RequestValidationError) -> Response:
        faults = [{"location": ".".join(map(str, fault["loc"])), "message": fault["msg"]} for fault in error.errors()]
        return _respond(request, invalid_request(f"{faults[0]['location']}: {faults[0]['message']}.", faults))

    @app.exception_handler(AxonError)
    async def on_axon_error(request: Request, error: AxonError) -> Response:
        return _respond(request, problem_of(error))

    @app.exception_handler(Exception)
    async def on_bug(request: Request, error: Exception) -> Response:
        log.error("request failed", path=request.url.path, exc_info=error)
        return _respond(request, problem_of(error))

    return app


def _respond(request: Request, problem: Problem) -> Response:
    given = request.headers.get(REQUEST_ID_HEADER.decode())
    request_id = accepted_request_id(given.encode("latin-1") if given else None).decode()
    headers = {**problem.headers, REQUEST_ID_HEADER.decode(): request_id}
    return Response(problem.body(request_id), int(problem.status), headers, MEDIA_TYPE)
