"""Names from data never become markup, as read back by an HTML parser, a YAML parser, CommonMark and a shell."""

import json
import shlex
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest
import yaml
from markdown_it import MarkdownIt

from training.fit import fit
from training.report import metrics_table, print_table
from training.reporting.baselines import compare
from training.reporting.card import model_card
from training.reporting.evaluation import evaluation_of
from training.reporting.html import html_report

SCRIPT = "<script>alert(1)</script>"
TARGET = 'what" onload="x</title><script>t</script>'
NAMES = [SCRIPT, "a|b `c` *d* _e_ [f](http://g) \\", "': {y: [1]} # \u2028\x85 \U0001f600", "```\n# heading\n---"]
LABELS = ["<img src=x onerror=alert(1)>", "| '\"${HOME} $(id)`id`"]


@pytest.fixture(scope="module")
def hostile():
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(size=120) for name in NAMES[1:]}
    columns[NAMES[0]] = [("</style>", "</svg>&amp;")[i % 2] for i in range(120)]
    columns[TARGET] = [LABELS[int(value > 0)] for value in columns[NAMES[1]] + 0.5 * rng.normal(size=120)]
    model = fit(pa.table(columns), target=TARGET, name="hostile", epochs=3)
    return model, evaluation_of(model), compare(model)


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.handlers, self.loaded, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.loaded += [value for name, value in attrs if name in ("src", "href", "xlink:href", "action")]

    def handle_data(self, data):
        self.text.append(data)


def test_the_report_holds_no_markup_but_its_own_and_loads_nothing(hostile):
    model, evaluation, comparison = hostile
    reader = Reader()
    document = html_report(model, "hostile@1", evaluation, comparison)
    reader.feed(document)
    assert not {"script", "img", "link", "iframe", "object"} & set(reader.tags)
    assert reader.handlers == []
    assert reader.loaded == []
    assert "http" not in document.replace("http-equiv", "").replace("http://g", "")
    shown = "".join(reader.text)
    for text in (SCRIPT, TARGET, LABELS[0]):
        assert text in shown
    assert reader.tags.count("svg") >= 2  # learning curves and reliability


def test_the_head_of_the_card_is_yaml_with_the_names_as_they_are(hostile):
    model, evaluation, comparison = hostile
    tiny = {**model.metrics, "test": {**model.metrics["test"], "log_loss": 1e-05, "brier": 0.0}}
    model = replace(model, checkpoint=replace(model.checkpoint, metrics=tiny))
    card = model_card(model, f"hostile{SCRIPT}\x85\u2028@1", evaluation, comparison)
    _, head, _ = card.split("---\n", 2)
    read = yaml.safe_load(head)
    assert read["library_name"] == "axon"
    assert read["pipeline_tag"] == "tabular-classification"
    (entry,) = read["model-index"]
    assert entry["name"] == f"hostile{SCRIPT}\x85\u2028@1"
    values = {metric["type"]: metric["value"] for metric in entry["results"][0]["metrics"]}
    assert values == {name: value for name, value in model.metrics["test"].items() if name != "rows"}
    assert read["metrics"] == list(values)


def test_the_card_shows_every_column_in_a_row_of_its_own_and_holds_no_html(hostile):
    model, evaluation, comparison = hostile
    card = model_card(model, "hostile@1", evaluation, comparison).split("---\n", 2)[2]
    tokens = MarkdownIt("commonmark").enable("table").parse(card)
    inline = [token for token in tokens if token.type == "inline"]
    kinds = {child.type for token in inline for child in token.children} | {token.type for token in tokens}
    assert not {"html_inline", "html_block", "link_open", "image", "em_open", "strong_open"} & kinds
    cells = ["".join(child.content for child in token.children) for token in inline]
    for name in NAMES:
        assert cells.count(" ".join(name.split())) == 1
    headings = [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]
    assert headings == ["hostile@1", *("Intended use", "Data", "Training", "Figures", "Limits", "Asking it")]


def test_the_example_request_survives_the_shell_and_the_model_takes_it(hostile):
    model, evaluation, comparison = hostile
    card = model_card(model, "hostile@1", evaluation, comparison)
    (fence,) = [token for token in MarkdownIt("commonmark").parse(card) if token.type == "fence"]
    words = shlex.split(fence.content)
    assert words[:4] == ["curl", "-s", "localhost:8000/predict", "-d"]
    request = json.loads(words[4])
    assert set(request["instances"][0]) == {" ".join(name.split()) for name in NAMES}
    assert model.predict(request["instances"])[0] in LABELS


def test_the_names_of_several_targets_are_no_markup(capsys):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 120))
    names = [SCRIPT, "[red]a|b `c` *d*"]
    columns = {"a": a, "b": b, names[0]: a + 0.1 * rng.normal(size=120), names[1]: b + 0.1 * rng.normal(size=120)}
    model = fit(pa.table(columns), target=names, name="hostile", engine="numpy", epochs=3)
    evaluation = evaluation_of(model)
    reader = Reader()
    reader.feed(html_report(model, "hostile@1", evaluation))
    assert "script" not in reader.tags
    assert f"RMSE of {SCRIPT}" in "".join(reader.text)
    page = MarkdownIt("commonmark").enable("table").render(model_card(model, "hostile@1", evaluation))
    rendered = Reader()
    rendered.feed(page)
    assert "script" not in rendered.tags
    assert f"RMSE of {names[1]}" in "".join(rendered.text)
    print_table(metrics_table(model))
    assert f"rmse of {names[1]}" in capsys.readouterr().out
