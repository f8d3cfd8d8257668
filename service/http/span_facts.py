"""The name and the attributes of a request's span over HTTP, by OpenTelemetry's semantic conventions."""

from __future__ import annotations

import re
from urllib.parse import quote

from service.http.exchange import Exchange
from service.span_facts import AttributeValue, SpanFacts

_PARAMETER = re.compile(r"\{(\w+)\}")
_FAULT = 500  # the least status that is a fault of the server


def http_span_facts(route: str, exchange: Exchange, status: int) -> SpanFacts:
    """Returns the name and the attributes of a request's span.

    Args:
        route: path of the route, with the names of its parameters.
        exchange: exchange of the request.
        status: HTTP status of the answer.
    """
    path = _PARAMETER.sub(lambda found: quote(exchange.parameters.get(found[1], "")), route)
    attributes: dict[str, AttributeValue] = {
        "http.request.method": "POST",  # that of all routes of predictions
        "http.route": route,
        "url.path": path,
        "url.scheme": exchange.scheme,
        "http.response.status_code": status,
    }
    return SpanFacts(f"POST {route}", attributes, str(status) if status >= _FAULT else None)
