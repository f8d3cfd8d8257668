"""`GET /metrics?name[]=…`: only the metrics that are asked for, each as in the whole text."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from serving import Server, http_get, http_post

ACCEPT = {"classic": "text/plain", "open": "application/openmetrics-text"}


def families(text: str) -> dict[str, str]:
    """Returns the text of each metric, by name."""
    parts = re.split(r"^(?=# HELP )", text.removesuffix("# EOF\n"), flags=re.MULTILINE)
    return {part.split(" ", 3)[2]: part for part in parts if part}


def scrape(server: Server, kind: str, *names: str) -> str:
    answer = http_get(f"{server.url}/metrics", params={"name[]": names}, headers={"Accept": ACCEPT[kind]})
    assert answer.status_code == 200
    return answer.text


@pytest.mark.parametrize("kind", ACCEPT)
def test_each_metric_can_be_asked_for_alone_or_with_others(server: Server, kind: str) -> None:
    assert http_post(f"{server.url}/predict", json={"model": "price", "instances": [[80, 3]]}).status_code == 200
    whole = families(scrape(server, kind))
    assert {"axon_queue_rows", "axon_worker_up", "axon_model_info", "axon_inference_seconds"} <= whole.keys()
    for name in whole:
        asked = name if kind == "classic" or f"{name}_total" not in whole[name] else f"{name}_total"
        assert families(scrape(server, kind, asked)).keys() <= {name, asked}, name
    some = ("axon_queue_rows", "axon_request_seconds", "axon_model_parameters")
    assert families(scrape(server, kind, *some)).keys() == set(some)
    assert "price" in families(scrape(server, kind, *some))["axon_request_seconds"]


def test_what_is_no_metric_gives_nothing(server: Server) -> None:
    assert scrape(server, "classic", "axon_none") == ""
    assert scrape(server, "open", "axon_none") == "# EOF\n"


def test_whole_and_partial_texts_may_be_asked_for_at_the_same_time(server: Server) -> None:
    with ThreadPoolExecutor(8) as pool:
        asked = [(kind, names) for kind in ACCEPT for names in ((), ("axon_requests_total",), ("axon_worker_up",))] * 6
        texts = list(pool.map(lambda one: scrape(server, one[0], *one[1]), asked))
    for (kind, names), text in zip(asked, texts, strict=True):
        found = families(text).keys()
        assert len(found) > 10 if not names else len(found) == 1, (kind, names, found)
