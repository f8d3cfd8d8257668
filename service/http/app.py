"""The HTTP application: routes, their documentation, and every error as a problem document."""

from __future__ import annotations

from http import HTTPStatus
from importlib.metadata import version

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope as RequestScope

from models.errors import AxonError
from service.access import Access, Scope
from service.errors import InvalidRequest
from service.http.error_forms import as_400, error_form, problem_document
from service.http.openapi import DocumentedApp, Responses, problems
from service.http.problems import Problem, problem_of
from service.http.routes.console import console_router
from service.http.routes.docs import docs_router
from service.http.routes.guard import Guard
from service.http.routes.predict import PREDICT_PATH
from service.http.schemas import PredictRequest, PredictResponse
from service.logs import LimitedLog, get_logger
from service.request_ids import REQUEST_ID_HEADER, accepted_request_id

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
    "intervals": {
        "summary": "With the labels that each row may have",
        "value": {"model": "iris", "instances": [[6.0, 2.7, 5.1, 1.6]], "intervals": 0.9},
    },
}

_CSV_EXAMPLES = {
    "table": {
        "summary": "A table whose first line names the columns; ?model=xor",
        "value": "x1,x2\n0,1\n1,1\n",
    }
}

_CSV_ANSWERS = {
    "classifier": {
        "summary": "A line for each row, with the probabilities of a classifier",
        "value": "prediction,probability_0,probability_1\r\n1,0.013,0.987\r\n",
    },
    "several targets": {
        "summary": "A column for each target of a regressor with several",
        "value": "prediction_rent,prediction_cost\r\n12.5,-0.25\r\n",
    },
}

_BINARY = {"schema": {"type": "string", "format": "binary"}}

_PREDICT_PARAMETERS = [
    {
        "name": "model",
        "in": "query",
        "description": "Of a CSV or Arrow body: `name`, `name@version` or `name@alias`. A JSON body names its model.",
        "schema": {"type": "string"},
    },
    {
        "name": "X-Request-ID",
        "in": "header",
        "description": "Comes back with the answer, and is in the log; one that is not printable ASCII of at most 128 "
        "characters is replaced.",
        "schema": {"type": "string"},
    },
    {
        "name": "X-Request-Timeout-Seconds",
        "in": "header",
        "description": "The deadline; the server has a longest one.",
        "schema": {"type": "number", "exclusiveMinimum": 0},
    },
]

# Errors that any request can get.
_COMMON_PROBLEMS: dict[int, str] = {
    HTTPStatus.BAD_REQUEST: "The request is not HTTP, or a key is sent twice.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "A bug; the log has it.",
    HTTPStatus.SERVICE_UNAVAILABLE: "There are too many connections.",
}

_PREDICT_PROBLEMS: dict[int, str] = {
    HTTPStatus.REQUEST_TIMEOUT: "The body came too slowly.",
    HTTPStatus.NOT_FOUND: "No such model, version or alias.",
    HTTPStatus.NOT_ACCEPTABLE: "`Accept` excludes JSON, CSV and Arrow.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Too many bytes or rows.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is neither JSON, CSV nor Arrow, or its coding is not read.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "A row or the body is wrong; `errors` says where.",
    HTTPStatus.TOO_MANY_REQUESTS: "The model's queue is full; `Retry-After` says when to try again.",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "The head has too many bytes.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "The model failed on these rows.",
    HTTPStatus.NOT_IMPLEMENTED: "The body has a transfer coding beside `chunked`.",
    HTTPStatus.SERVICE_UNAVAILABLE: "The model cannot be loaded, or there are too many connections.",
    HTTPStatus.GATEWAY_TIMEOUT: "The deadline passed.",
}

_PREDICT_LINKS: Responses = {
    200: {
        "headers": {
            "X-Request-ID": {"schema": {"type": "string"}},
            "X-Axon-Unknown-Categories": {
                "description": "Cells whose category training did not see; absent where there are none.",
                "schema": {"type": "integer", "minimum": 1},
            },
            "X-Axon-Unknown-Columns": {
                "description": "Their columns, percent-encoded, each with its number of cells: `city=2, zip%20code=1`.",
                "schema": {"type": "string"},
            },
        },
        "content": {
            "text/csv": {"schema": {"type": "string"}, "examples": _CSV_ANSWERS},
            "application/vnd.apache.arrow.stream": _BINARY,
        },
        "links": {"model": {"operationId": "show_model", "parameters": {"id": "$response.body#/model"}}},
    }
}

failures = LimitedLog(get_logger(__name__))  # limits errors that a client can cause again and again


class DocumentedPredictRoute(APIRoute):
    """The route `POST /predict` for the OpenAPI document, which also refuses other methods of the path.

    Requests for predictions never come here: `HttpProtocol` hands them to the endpoint before the framework.

    Args:
        guard: check of the scope for predictions.
    """

    def __init__(self, guard: Guard) -> None:
        async def predict(request: PredictRequest) -> PredictResponse:
            raise NotImplementedError("the HTTP protocol answers these requests")

        super().__init__(
            PREDICT_PATH,
            predict,
            methods=["POST"],
            summary="Predict rows with a model",
            operation_id="predict",
            tags=["predict"],
            response_model=PredictResponse,
            response_model_exclude_none=True,
            responses=problems(_COMMON_PROBLEMS | _PREDICT_PROBLEMS) | _PREDICT_LINKS | guard.responses,
            dependencies=guard.dependencies,
            openapi_extra={
                "parameters": _PREDICT_PARAMETERS,
                "requestBody": {
                    "content": {
                        "application/json": {"examples": _PREDICT_EXAMPLES},
                        "text/csv": {"schema": {"type": "string"}, "examples": _CSV_EXAMPLES},
                        "application/vnd.apache.arrow.stream": _BINARY,
                    }
                },
            },
        )

    def matches(self, scope: RequestScope) -> tuple[Match, RequestScope]:
        """Matches only the exact path. The pattern would also match the path with a line end, and read any body."""
        return super().matches(scope) if scope["path"] == PREDICT_PATH else (Match.NONE, {})


def create_app(
    routers: list[APIRouter], access: Access | None = None, root_path: str = "", *, console: bool = True
) -> DocumentedApp:
    """Returns the FastAPI application.

    Args:
        routers: all routes except `POST /predict`.
        access: API keys; None lets everybody in.
        root_path: path prefix that a proxy adds, without a slash at the end; empty without a prefix.
        console: False to leave the console out.
    """
    app = DocumentedApp(
        title="Axon",
        version=version("axon"),
        description=_DESCRIPTION,
        redirect_slashes=False,
        openapi_url=None,  # `docs_router` has it
        servers=[{"url": root_path}] if root_path else None,
        responses=problems(_COMMON_PROBLEMS),
        generate_unique_id_function=lambda route: route.name,
    )
    app.router.routes.append(DocumentedPredictRoute(Guard(access, Scope.PREDICT)))
    docs = docs_router(app.title, app.openapi, Guard(access, Scope.READ))
    start = console_router(root_path, is_on=console, needs_key=access is not None)
    for router in (*routers, docs, start):
        app.include_router(router)

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        status = HTTPStatus(error.status_code)
        code = status.phrase.lower().replace(" ", "-")
        return _respond(request, Problem(status, code, str(error.detail), headers=error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def on_invalid_parameter(request: Request, error: RequestValidationError) -> Response:
        faults = [{"location": ".".join(map(str, fault["loc"])), "message": fault["msg"]} for fault in error.errors()]
        invalid = InvalidRequest(f"{faults[0]['location']}: {faults[0]['message']}.", faults)
        return _respond(request, problem_of(invalid))

    @app.exception_handler(Problem)
    @app.exception_handler(AxonError)
    async def on_our_error(request: Request, error: Problem | AxonError) -> Response:
        return _respond(request, problem_of(error))

    @app.exception_handler(Exception)
    async def on_bug(request: Request, error: Exception) -> Response:
        path = request.url.path
        failures.error("request failed", kind=type(error).__name__, path=path, exc_info=error)
        return _respond(request, problem_of(error))

    return app


def _respond(request: Request, problem: Problem) -> Response:
    """Returns the answer with an error document in the form of the path's protocol."""
    # As on /predict, the value of a repeated header is not a valid id.
    given = "\n".join(request.headers.getlist(REQUEST_ID_HEADER.decode()))
    request_id = accepted_request_id(given.encode("latin-1")).decode()
    headers = {**problem.headers, REQUEST_ID_HEADER.decode(): request_id}
    form = error_form(request.url.path)
    if form is not problem_document:
        problem = as_400(problem)
    body, media_type = form(problem, request_id)
    return Response(body, int(problem.status), headers, media_type)
