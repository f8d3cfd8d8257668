"""The answer's media type is the one that the client prefers, by RFC 9110, 12.5.1."""

from __future__ import annotations

import pytest

from service.errors import NotAcceptable
from service.http.accept import MediaTypes

JSON, CSV, ARROW = OFFERED = ("application/json", "text/csv", "application/vnd.apache.arrow.stream")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("text/*", CSV),
        ("text/csv", CSV),
        ("TEXT/CSV; Charset=utf-8", CSV),
        (ARROW, ARROW),
        (f"{ARROW}, */*", ARROW),
        (f"*/*, {ARROW}", ARROW),
        (f"{ARROW};q=0.5, */*", JSON),
        (f"{ARROW};q=0.5, application/json;q=0.4, */*;q=0.1", ARROW),
        ("text/csv, application/json", CSV),
        ("application/json, text/csv", JSON),
        ("application/json;q=0, */*", CSV),
        ("application/json;q=0, text/csv;q=0, */*;q=0.001", ARROW),
        ("text/html, application/xhtml+xml, */*;q=0.8", JSON),
        ("text/html, application/json;q=0.9, text/csv;q=0.95", CSV),
        ("text/csv\napplication/json;q=0.2", CSV),
        ("text/html, image/gif, *; q=.2, */*; q=.2", JSON),  # Java's own
        ("json", JSON),
        (";;,,//", JSON),
        ('text/csv;header="present";q=1.000', CSV),
    ],
)
def test_the_preferred_type_is_chosen(accept: str, chosen: str) -> None:
    types = MediaTypes(OFFERED)
    for _ in range(2):  # read, and found
        assert OFFERED[types.choose(accept.encode("latin-1"))] == chosen


@pytest.mark.parametrize(
    "accept", ["text/html", "application/json;q=0", "*/*;q=0", "image/*, application/xml", "text/csv;q=0.000"]
)
def test_a_header_that_excludes_all_is_refused_with_what_there_is(accept: str) -> None:
    types = MediaTypes(OFFERED)
    for _ in range(2):
        with pytest.raises(NotAcceptable) as refused:
            types.choose(accept.encode())
        assert all(offered in str(refused.value) for offered in OFFERED)
        assert accept in str(refused.value)
