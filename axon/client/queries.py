"""The calls of the client beside predictions: models, summaries and health, as steps."""

from __future__ import annotations

from http import HTTPStatus

from axon.client.call import Call
from axon.client.documents import Health, ModelSummary
from axon.client.errors import ClientError
from axon.client.known_versions import document_of, model_path
from axon.client.steps import Request, Steps

_NOT_READY = frozenset((HTTPStatus.SERVICE_UNAVAILABLE.value,))


def fetch_summary(call: Call, reference: str) -> Steps[ModelSummary]:
    """Asks for the layers of a model."""
    reply = yield from call.answer(Request("GET", f"{model_path(reference)}/summary", {"Accept": "application/json"}))
    document: ModelSummary = document_of(reply, call)  # type: ignore[assignment]
    return document


def fetch_summary_text(call: Call, reference: str) -> Steps[str]:
    """Asks for the layers of a model as an aligned table."""
    reply = yield from call.answer(Request("GET", f"{model_path(reference)}/summary/text", {"Accept": "text/plain"}))
    return reply.body.decode("utf-8", "replace")


def fetch_health(call: Call) -> Steps[Health]:
    """Asks for the state of the server."""
    reply = yield from call.answer(Request("GET", "health/ready"), accepts=_NOT_READY)
    document = document_of(reply, call)
    reason = document.get("reason")
    return Health(ready=reply.status == HTTPStatus.OK, reason=reason if isinstance(reason, str) else None)


def fetch_ready(call: Call) -> Steps[bool]:
    """Asks if the server answers predictions; a server that cannot be reached does not."""
    try:
        return (yield from fetch_health(call)).ready
    except ClientError:
        return False
