"""The model versions that a client knows: their columns and classes are asked for once.

A version never changes, but a name or an alias may mean another version at any time. So a caller compares the version
of each answer with the version that was known before.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

import orjson

from axon.client.call import Call
from axon.client.documents import KnownVersion, ModelDetail, ModelList
from axon.client.errors import Forbidden, ServerFailed
from axon.client.steps import Reply, Request, Steps

_MOST = 256  # versions and references; more than a client asks about


class KnownVersions:
    """The known versions of one server, by reference and by `name@version`, and what else is known of the server.

    Attributes:
        may_read: False once the API key lacked the scope to read models.
        has_binary: False once the server did not speak the Open Inference Protocol.
    """

    def __init__(self) -> None:
        self._known: dict[str | None, KnownVersion] = {}
        self.may_read = True
        self.has_binary = True

    def get(self, reference: str | None) -> KnownVersion | None:
        """Returns the version that a reference meant at the last request; None for an unknown reference."""
        return self._known.get(reference)

    def keep(self, reference: str | None, version: KnownVersion) -> None:
        """Keeps a version as the one that a reference means, and under its own reference.

        Args:
            reference: reference as the caller gives it; None for the default model.
            version: version that answered.
        """
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[reference] = self._known[version.reference] = version

    def fetch(self, call: Call, reference: str | None) -> Steps[KnownVersion | None]:
        """Asks the server what a reference means.

        Args:
            call: call that needs to know.
            reference: reference of a model; None for the default model.

        Returns:
            The version, as the generator's value; None if the API key may not read models, or if the reference is None
            and the server has no default model.

        Raises:
            ClientError: there is no answer.
        """
        if not self.may_read:
            return None
        try:
            named = reference if reference is not None else (yield from fetch_models(call)).get("default")
            if named is None:
                return None
            detail = yield from fetch_model(call, named)
        except Forbidden:
            self.may_read = False
            return None
        version = KnownVersion.of(detail)
        self.keep(reference, version)
        return version


def fetch_models(call: Call) -> Steps[ModelList]:
    """Asks for the list of models."""
    reply = yield from call.answer(Request("GET", "models"))
    document: ModelList = document_of(reply, call)  # type: ignore[assignment]
    return document


def fetch_model(call: Call, reference: str) -> Steps[ModelDetail]:
    """Asks for the detail of a model."""
    reply = yield from call.answer(Request("GET", model_path(reference)))
    document: ModelDetail = document_of(reply, call)  # type: ignore[assignment]
    return document


def model_path(reference: str) -> str:
    """Returns the path of a model's detail."""
    return f"models/{quote(reference, safe='@')}"


def document_of(reply: Reply, call: Call) -> Mapping[str, object]:
    """Returns the JSON object of an answer.

    Raises:
        ServerFailed: the body is something else.
    """
    try:
        document = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise ServerFailed(
            "The answer is not one of an Axon server: its body is not a JSON object.",
            status=reply.status,
            request_id=call.request_id,
        )
    return document
