"""The console's own arithmetic in a real browser, against torch, prometheus_client, Prometheus and Python's csv."""

from __future__ import annotations

import ast
import csv
import io
import json
import math
import random
import shutil
import subprocess
from itertools import accumulate, pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browsing import OpenPage
from prometheus_client.parser import text_string_to_metric_families
from serving import Server, http_get, http_post

INFINITY = "Infinity"
HOSTILE_TEXT = r"""# HELP a_total A "counter" with \\ and } in help.
# TYPE a_total counter
a_total{name="quo\"te}, b=\"",other="line\nback\\slash"} 3
a_total{name="",other="{}"} 1e-07
a_total 4 1700000000000
g{le="+Inf"} +Inf
g{le="0.5"} -Inf
"""


@pytest.fixture
def scripts(untrained: Server, open_page: OpenPage) -> Any:
    """A function that calls an exported function of a file in `lib` with arguments, in the browser."""
    page = open_page(f"{untrained.url}/").page

    def call(file: str, function: str, *given: Any) -> Any:
        return page.evaluate(
            """async ([file, name, given]) => {
                const found = await import(new URL(`console/lib/${file}`, document.baseURI));
                const shown = (value) => (typeof value === 'number' && !Number.isFinite(value) ? String(value)
                    : value instanceof Map ? [...value].map(shown) : Array.isArray(value) ? value.map(shown)
                    : value && typeof value === 'object'
                    ? Object.fromEntries(Object.entries(value).map(([k, v]) => [k, shown(v)]))
                    : value);
                return shown(await found[name](...given));
            }""",
            [file, function, list(given)],
        )

    call.page = page  # type: ignore[attr-defined]
    return call


def samples_of(text: str) -> list[tuple[str, dict[str, str], float]]:
    return [
        (sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


def test_metrics_are_parsed_as_prometheus_clients_parser_does(untrained: Server, scripts: Any) -> None:
    http_post(f"{untrained.url}/predict", json={"model": "price", "instances": [[0, 1]]})
    for text in (HOSTILE_TEXT, http_get(f"{untrained.url}/metrics").text):
        found = [(one["name"], one["labels"], float(one["value"])) for one in scripts("metrics.js", "parse", text)]
        assert found == samples_of(text)
        assert len(found) >= 5


def increases(page: Any, before: dict[str, float], after: dict[str, float]) -> list[float]:
    return page.evaluate(  # type: ignore[no-any-return]
        """async ([before, after]) => {
            const { increases } = await import(new URL('console/lib/metrics.js', document.baseURI));
            const samples = (values) => Object.entries(values).map(([key, value]) => ({ key, value }));
            return samples(after).map(increases(samples(before)));
        }""",
        [before, after],
    )


def test_a_counter_that_fell_did_not_increase(scripts: Any) -> None:
    before, after = {"a": 5, "b": 7, "gone": 3}, {"a": 9, "b": 2, "new": 4}
    assert increases(scripts.page, before, after) == [4, 0, 4]


def histograms() -> list[dict[float, int]]:
    rng = random.Random(0)
    bounds = [0.001, 0.002, 0.005, 0.01, 0.1, 1.0, math.inf]
    made: list[dict[float, int]] = []
    for _ in range(12):
        total, cumulative = 0, {}
        for bound in bounds:
            total += rng.choice([0, 0, 1, 7, 40])
            cumulative[bound] = total
        if total:
            made.append(cumulative)
    return [*made, dict.fromkeys(bounds, 3), {bound: 0 if bound < math.inf else 4 for bound in bounds}]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_quantiles_are_those_of_prometheus(scripts: Any, tmp_path: Path) -> None:
    series, expected = [], []
    for number, histogram in enumerate(histograms()):
        for bound, count in histogram.items():
            le = "+Inf" if bound == math.inf else f"{bound:g}"
            series.append({"series": f'h_bucket{{number="{number}",le="{le}"}}', "values": str(count)})
        for q in (0.5, 0.95, 0.99):
            pairs = [[INFINITY if bound == math.inf else bound, count] for bound, count in histogram.items()]
            value = scripts.page.evaluate(
                """async ([q, pairs]) => {
                    const { quantile } = await import(new URL('console/lib/metrics.js', document.baseURI));
                    return quantile(q, new Map(pairs.map(([bound, count]) => [Number(bound), count])));
                }""",
                [q, pairs],
            )
            labels = f'{{number="{number}"}}'
            sample = {"labels": labels, "value": value}
            query = f'histogram_quantile({q}, h_bucket{{number="{number}"}})'
            expected.append({"expr": query, "eval_time": "0m", "exp_samples": [sample]})
    rules = {
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": expected}],
    }
    (tmp_path / "rules.yml").write_text(json.dumps(rules))  # JSON is YAML
    done = subprocess.run(
        ["promtool", "test", "rules", str(tmp_path / "rules.yml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1]


@pytest.mark.parametrize("counts", [[0, 0, 0, 0, 8, 0, 0], [3, 0, 0, 0, 7, 0, 9], [0, 5, 0, 2, 0, 0, 0]])
def test_a_percentile_between_two_scrapes_is_within_its_bucket(scripts: Any, counts: list[int]) -> None:
    def text(times: int, quiet: int) -> str:
        lines = []
        for model, own in (("busy", [times * n for n in counts]), ("quiet", [quiet] * len(BOUNDS))):
            totals = [*accumulate(own), sum(own)]
            lines += [
                f'axon_request_seconds_bucket{{le="{le}",model="{model}"}} {total}\n'
                for le, total in zip([*BOUNDS, "+Inf"], totals, strict=True)
            ]
        return "".join(lines)

    found = scripts.page.evaluate(
        """async ([before, after, qs]) => {
            const { parse, quantile, tickOf } = await import(new URL('console/lib/metrics.js', document.baseURI));
            const { models } = tickOf(parse(after), parse(before), 2, 2);
            const found = qs.map((q) => ['', 'busy'].map((name) => quantile(q, models.get(name).seconds)));
            return { names: [...models.keys()], found };
        }""",
        [text(1, 4), text(2, 4), [0.4999, 0.9499]],
    )
    assert found["names"] == ["", "busy"], "a model without a request has no figures"
    cumulative = [0, *accumulate(counts)]
    for q, values in zip([0.4999, 0.9499], found["found"], strict=True):
        assert values == pytest.approx([np.interp(q * cumulative[-1], cumulative, [0, *BOUNDS])] * 2)


@pytest.mark.parametrize("watched", ["", "m0", "nobody"])
def test_the_watched_model_is_kept_beside_the_busiest(scripts: Any, watched: str) -> None:
    text = "".join(f'axon_requests_total{{model="m{at}",status="200"}} {at + 1}\n' for at in range(60))
    samples = scripts("metrics.js", "parse", text)
    tick = scripts("metrics.js", "tickOf", samples, [], 2, 2, watched)
    models = dict(tick["models"])
    assert models[""]["requests"] == sum(range(1, 61))
    assert models["m59"]["requests"] == 60
    assert models[watched]["requests"] == {"": sum(range(1, 61)), "m0": 1, "nobody": 0}[watched]
    assert tick["isCut"] is True
    assert scripts("metrics.js", "tickOf", samples[:20], [], 2, 2, watched)["isCut"] is False


def test_an_empty_histogram_has_no_quantile(scripts: Any) -> None:
    empty = "async () => (await import(new URL('console/lib/metrics.js', document.baseURI))).quantile(0.5, new Map())"
    assert scripts.page.evaluate(empty) is None


def tables() -> list[tuple[str, list[list[str]]]]:
    """Returns texts of CSV, and the rows in each: those of Python's csv module, and empty lines of a lone column."""
    rng = random.Random(1)
    pieces = ["a", "", " ", '"', "\n", "\r\n", ",", ";", "é", "0.5", 'x "y" z', "\u2028", "🙂", "1\n2"]
    made = []
    for _ in range(60):
        delimiter = rng.choice(",;\t|")
        width = rng.randint(2, 5)
        rows = [[f"column {at}" for at in range(width)]]
        rows += [["".join(rng.choices(pieces, k=rng.randint(0, 3))) for _ in range(width)] for _ in range(8)]
        text = io.StringIO(newline="")
        writer = csv.writer(text, delimiter=delimiter, lineterminator=rng.choice(["\n", "\r\n"]))
        writer.writerows(rows)
        content = text.getvalue() + rng.choice(["", "\n", "\r\n\n"])
        lines = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter)
        made.append((content, [row for row in lines if row]))
    made.append(('a,b\n"x"y,2\n"p,q"r"s,"3"\n', [["a", "b"], ["xy", "2"], ['p,qr"s', "3"]]))
    made.append(("a\n1\n\n3\n", [["a"], ["1"], [""], ["3"]]))
    made.append(("\r\n\na\r\n\r\n1\n\n", [["a"], [""], ["1"], [""]]))
    made.append(('a,b\n5" pipe,2\nplain,"x"\n', [["a", "b"], ['5" pipe', "2"], ["plain", "x"]]))
    return made


def test_records_are_cut_as_pythons_csv_module_does_wherever_the_pieces_end(scripts: Any) -> None:
    rng = random.Random(2)
    for text, rows in tables():
        cuts = sorted(rng.choices(range(len(text) + 1), k=4))
        pieces = [text[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        found = scripts.page.evaluate(
            """async (pieces) => {
                const { Records, cellsOf } = await import(new URL('console/lib/csv.js', document.baseURI));
                const cut = new Records();
                const records = pieces.flatMap((piece, at) => cut.take(piece, at === pieces.length - 1));
                return records.map(({ text, cells }) => [cellsOf(text, cut.delimiter), cells]);
            }""",
            pieces,
        )
        assert [cells for cells, _ in found] == rows, repr(text)
        assert [number for _, number in found] == [len(row) for row in rows], repr(text)


def test_a_quoted_cell_is_read_back_by_python(scripts: Any) -> None:
    for cell in ('a"b', "x,y", " a ", "two\nlines", "plain", "", "a;b"):
        for delimiter in (",", ";"):
            written = scripts("csv.js", "quoted", cell, delimiter)
            line = io.StringIO(f"{written}{delimiter}end\n", newline="")
            assert next(csv.reader(line, delimiter=delimiter)) == [cell, "end"]


def test_a_quotation_mark_that_is_never_closed_is_an_error(scripts: Any) -> None:
    said = scripts.page.evaluate(
        """async () => {
            const { Records } = await import(new URL('console/lib/csv.js', document.baseURI));
            const cut = new Records();
            try {
                for (let i = 0; i < 40; i += 1) cut.take(i ? 'x\\n'.repeat(50000) : 'a,b\\n"');
            } catch (error) {
                return error.message;
            }
            return null;
        }"""
    )
    assert "quotation mark" in said


def test_one_call_is_in_flight_and_the_newest_value_follows(scripts: Any) -> None:
    found = scripts.page.evaluate(
        """async () => {
            const { latest } = await import(new URL('console/lib/latest.js', document.baseURI));
            let [busy, most] = [0, 0];
            const waiting = [];
            const answered = [];
            const run = (value) => new Promise((done, fail) => {
                busy += 1;
                most = Math.max(most, busy);
                waiting.push(() => { busy -= 1; if (value === 5) fail(new Error('five')); else done(10 * value); });
            });
            const ask = latest(run, (answer, error, value) => answered.push([value, answer, error && error.message]));
            [1, 2, 3, 4, 5].forEach(ask);
            const turn = () => new Promise((done) => setTimeout(done));
            for (let i = 0; i < 4 && waiting.length; i += 1) { waiting.shift()(); await turn(); }
            ask(6);
            waiting.shift()();
            await turn();
            return { most, answered };
        }"""
    )
    assert found == {"most": 1, "answered": [[1, 10, None], [5, None, "five"], [6, 60, None]]}


def test_a_value_without_an_answer_for_lack_of_time_is_asked_again(scripts: Any) -> None:
    page = scripts.page
    page.clock.install()
    page.evaluate(
        """async () => {
            const { latest } = await import(new URL('console/lib/latest.js', document.baseURI));
            const statuses = [429, 503, 504, 200, 422];
            window.asked = [];
            const run = async (value) => {
                window.asked.push(value);
                const status = statuses.shift() ?? 503;
                if (status !== 200) throw Object.assign(new Error(status), { status });
            };
            window.ask = latest(run, () => {});
        }"""
    )

    def asked_after(seconds: float, value: int | None = None) -> list[int]:
        if value is not None:
            page.evaluate("value => window.ask(value)", value)
        page.clock.run_for(1000 * seconds)
        return list(page.evaluate("window.asked"))

    assert asked_after(0.9, 1) == [1]
    assert asked_after(0.2) == [1, 1]
    assert asked_after(1.5) == [1, 1], "the pause grows"
    assert asked_after(0, 2) == [1, 1, 2], "a newer value is asked at once"
    assert asked_after(60) == [1, 1, 2, 2], "and again, not the older one"
    assert asked_after(60, 3) == [1, 1, 2, 2, 3], "a refused value is not asked again"
    assert asked_after(1.1, 4) == [1, 1, 2, 2, 3, 4, 4], "the pause begins anew"
    page.evaluate("window.ask.stop()")
    assert asked_after(60) == [1, 1, 2, 2, 3, 4, 4]


NAMES = ["w11", "w12", "b1", "w21", "w22", "b2", "v1", "v2", "c"]


def by_torch(weights: dict[str, float], row: list[float], y: float) -> dict[str, tuple[float, float]]:
    """Returns value and gradient of the nodes of the 2-2-1 network, by torch's autograd in float64."""
    w = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in weights.items()}
    x1, x2 = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in row)
    z1 = w["w11"] * x1 + w["w12"] * x2 + w["b1"]
    z2 = w["w21"] * x1 + w["w22"] * x2 + w["b2"]
    h1, h2 = torch.tanh(z1), torch.tanh(z2)
    o = w["v1"] * h1 + w["v2"] * h2 + w["c"]
    p = torch.sigmoid(o)
    loss = torch.nn.functional.binary_cross_entropy(p, torch.tensor(y, dtype=torch.float64))
    nodes = {**w, "x1": x1, "x2": x2, "z1": z1, "z2": z2, "h1": h1, "h2": h2, "o": o, "p": p, "L": loss}
    for node in nodes.values():
        node.retain_grad()
    loss.backward()
    return {name: (node.item(), node.grad.item()) for name, node in nodes.items() if node.grad is not None}


def test_the_gradients_of_the_graph_are_torchs(scripts: Any) -> None:
    rng = random.Random(4)
    for _ in range(20):
        weights = {name: rng.gauss(0, 1) for name in NAMES}
        row, y = [rng.choice([0.0, 1.0]), rng.gauss(0, 1)], rng.choice([0.0, 1.0])
        nodes = dict(scripts("graph.js", "network", weights, row, y))
        for name, (value, gradient) in by_torch(weights, row, y).items():
            assert nodes[name]["value"] == pytest.approx(value, rel=1e-12, abs=1e-15), name
            assert nodes[name]["gradient"] == pytest.approx(gradient, rel=1e-10, abs=1e-15), name


def test_gradient_descent_on_the_graph_learns_xor(scripts: Any) -> None:
    losses, answers = scripts.page.evaluate(
        """async () => {
            const { FIRST_WEIGHTS, network, step } = await import(new URL('console/lib/graph.js', document.baseURI));
            const rows = [[[0, 0], 0], [[0, 1], 1], [[1, 0], 1], [[1, 1], 0]];
            const answers = (weights) => rows.map(([x, y]) => network(weights, x, y).get('p').value);
            const loss = (weights) => rows.reduce((sum, [x, y]) => sum + network(weights, x, y).get('L').value / 4, 0);
            let weights = FIRST_WEIGHTS;
            const losses = [loss(weights)];
            for (let i = 0; i < 500; i += 1) { weights = step(weights, rows, 1); losses.push(loss(weights)); }
            return [losses, [answers(FIRST_WEIGHTS), answers(weights)]];
        }"""
    )
    first, last = ([round(p) for p in found] for found in answers)
    assert sum(p == y for p, y in zip(first, [0, 1, 1, 0], strict=True)) == 3, "there is something to learn"
    assert last == [0, 1, 1, 0]
    assert losses[-1] < 0.05 < losses[0]
    assert all(after < before for before, after in pairwise(losses))


def test_a_value_is_written_as_python_reads_it(scripts: Any) -> None:
    value = {"a": None, "b": [True, False, 1, -0.5, 1e300], "quo'te\"": "line\nend\\ é 🙂 </script>"}
    assert ast.literal_eval(scripts("snippets.js", "python", value)) == value


@pytest.mark.parametrize("value", [1_700_000_123, 123_456_789_012_345, -1_700_000_123, 0, -0.0, 12, -7_000])
def test_a_whole_number_is_written_with_all_digits(scripts: Any, value: float) -> None:
    written = scripts.page.evaluate(
        """async ([value, negative]) => {
            const { number } = await import(new URL('console/lib/format.js', document.baseURI));
            return number(negative ? -0 : value, 4);
        }""",
        [value, math.copysign(1, value) < 0 and value == 0],
    )
    assert written == f"{int(value):,}"


@pytest.mark.parametrize("digits", [2, 3, 4, 6])
@pytest.mark.parametrize("value", [1700000123.4, -2.5e12 / 3, 3.21987654e-7, 0.123456789, 98765.4321, 1 / 3e5, 3e-7])
def test_a_number_has_the_digits_that_are_asked_for_and_those_before_the_point(
    scripts: Any, value: float, digits: int
) -> None:
    written = float(scripts("format.js", "number", value, digits).replace(",", ""))
    whole = len(str(int(abs(value)))) if abs(value) < 1e9 else 0
    assert written == float(f"{value:.{max(digits, whole) - 1}e}")


def test_numbers_that_differ_by_little_of_their_spread_are_written_differently(scripts: Any) -> None:
    for middle, spread in product([1e8, -1e8, 2019.5, 1_234_567.89, 0, -122.4, 3e-7], [1, 0.02, 3e5]):
        values = [middle + spread * at / 500 for at in range(-3, 4)]
        texts = [scripts("format.js", "resolved", value, spread, 3) for value in values]
        assert len(set(texts)) == len(texts)
        assert [float(text.replace(",", "")) for text in texts] == pytest.approx(values, abs=spread / 1000, rel=0)


def test_the_edges_of_bins_are_written_differently(scripts: Any) -> None:
    for edges in ([-122.43, -122.41, -122.4, -100], [1e8, 1e8 + 0.5, 1e8 + 1], [1, 2.5, 1000]):
        texts = scripts("charts.js", "edgeTexts", edges)
        assert len(set(texts)) == len(texts)
        least = min(after - before for before, after in pairwise(edges))
        assert [float(text.replace(",", "")) for text in texts] == pytest.approx(edges, abs=least, rel=0)


@pytest.mark.parametrize("span", [(0, 1), (4.3, 7.9), (-3, 1000), (0, 1e-6), (-5e8, 7e8)])
def test_a_slider_has_a_hundred_places_or_more(scripts: Any, span: tuple[float, float]) -> None:
    step = scripts("fields.js", "stepOf", list(span))
    assert 100 <= (span[1] - span[0]) / step <= 1001
    mantissa = step / 10 ** math.floor(math.log10(step * 1.0001))
    assert min(abs(mantissa - wanted) for wanted in (1, 2, 5)) < 1e-9


@pytest.mark.parametrize(("value", "above"), [(0, 1), (0.7, 1), (1, 1), (1.2, 2), (3, 5), (42, 50), (0.0012, 0.002)])
def test_an_axis_ends_at_a_round_number(scripts: Any, value: float, above: float) -> None:
    assert scripts("charts.js", "niceAbove", value) == pytest.approx(above)
