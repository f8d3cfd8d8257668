"""`import axon`: fit, ask, look at, publish, load; each against what scikit-learn, pandas or the checkpoint says."""

import subprocess
import sys
import warnings
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.metrics import accuracy_score, log_loss, r2_score

import axon
from axon.notebook import bar_html, notebook_progress
from models.errors import ConfigError, DataError, ModelNotFound, RowError
from training.engines.engine import Epoch
from training.fit import fit as plain_fit

ROOT = Path(__file__).parents[2]


def people(rows=240):
    """Returns a frame with every kind of column, and gaps wherever a gap is allowed."""
    rng = np.random.default_rng(3)
    age = rng.integers(18, 90, rows).astype(float)
    height = rng.normal(170, 9, rows)
    town = rng.choice(["Ulm", "Bonn", "Kiel"], rows).astype(object)
    joined = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 1500 * 24, rows), unit="h")
    buys = np.where((age > 50) ^ (town == "Kiel"), "yes", "no")
    frame = pd.DataFrame(
        {"age": age, "height": height, "town": town, "joined": joined, "member": rng.random(rows) < 0.5, "buys": buys}
    )
    frame.loc[::17, "age"] = np.nan
    frame.loc[::19, "town"] = None
    frame.loc[::23, "joined"] = pd.NaT
    return frame


@pytest.fixture(scope="module")
def frame():
    return people()


@pytest.fixture(scope="module")
def model(frame):
    return axon.fit(frame, target="buys", name="people", epochs=40, hidden_sizes=(16,), progress=False)


def test_answers_to_a_frame_are_those_that_were_measured(model, frame):
    test = frame.iloc[model.fitted.split.test]
    figures = model.metrics["test"]
    assert accuracy_score(test["buys"], model.predict(test)) == pytest.approx(figures["accuracy"])
    proba = model.predict_proba(test)
    assert model.classes == ("no", "yes")
    assert log_loss(test["buys"], proba, labels=list(model.classes)) == pytest.approx(figures["log_loss"], rel=1e-4)
    assert np.allclose(proba.sum(axis=1), 1)


def test_a_frame_an_arrow_table_and_lists_have_the_same_answers(model, frame):
    expected = model.predict_proba(frame)
    wire = frame.drop(columns="buys").astype(object).where(frame.drop(columns="buys").notna(), None)
    wire["joined"] = [None if moment is None else moment.isoformat() for moment in wire["joined"]]
    rows = wire.to_dict("records")  # as a client sends them
    same = {
        "arrow": pa.Table.from_pandas(frame, preserve_index=False),
        "chunks": pa.concat_tables(
            [pa.Table.from_pandas(part, preserve_index=False) for part in (frame[:9], frame[9:])]
        ),
        "other order, another index": frame[list(reversed(frame.columns))].set_index(frame["height"] * 2),
        "types of pandas' own": frame.convert_dtypes(),
        "category": frame.assign(town=frame["town"].astype("category")),
        "aware": frame.assign(joined=frame["joined"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")),
        "mappings": rows,
        "lists": [list(row.values()) for row in rows],
        "spelt with blanks": frame.rename(columns={"age": " age "}),
    }
    for what, table in same.items():
        assert np.array_equal(model.predict_proba(table), expected), what


def test_one_row_is_a_row_of_the_frame_or_a_mapping(model, frame):
    expected = model.predict(frame)[5]
    assert model.predict(frame.iloc[5]) == [expected]
    assert model.predict(frame.iloc[5].drop("buys").to_dict()) == [expected]


def test_values_and_arrays():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=120), "b": rng.normal(size=120)})
    frame["y"] = 3 * frame["a"] - frame["b"]
    model = axon.fit(frame, target="y", epochs=30, hidden_sizes=(16,), progress=False)
    test = frame.iloc[model.fitted.split.test]
    assert r2_score(test["y"], model.predict(test)) == pytest.approx(model.metrics["test"]["r2"], rel=1e-5)
    assert model.predict(test[["a", "b"]].to_numpy()) == model.predict(test)
    exact = [{"a": Decimal("0.5"), "b": np.float32(0.25)}, {"a": np.int64(1), "b": 2}]
    assert model.predict(exact) == model.predict([[0.5, 0.25], [1, 2]])
    assert model.predict(test[:0]) == []
    with pytest.raises(ConfigError, match="a regression has no probabilities"):
        model.predict_proba(test)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda frame: frame.drop(columns=["age", "town"]), DataError, r"lacks columns 'age', 'town', which"),
        (lambda frame: frame.assign(**{" age": 1.0}), DataError, "has column 'age' twice"),
        (lambda frame: frame.assign(height="tall"), RowError, "column 'height': \"tall\" is not a number"),
        (lambda frame: frame.assign(height=np.nan), RowError, "column 'height'"),  # training saw none missing
        (lambda frame: "people.csv", DataError, "a text is no table"),
        (lambda frame: 5, DataError, "a int is no table"),
        (lambda frame: np.zeros(3), DataError, r"an array of shape \(3,\) is no table"),
        (lambda frame: [5.0, 1.0], RowError, "where a list of 5 values"),
    ],
)
def test_what_cannot_be_answered_is_refused_by_name(model, frame, change, error, said):
    with pytest.raises(error, match=said):
        model.predict(change(frame))


def test_categories_that_training_did_not_see_are_told(model, frame):
    strange = frame[:4].assign(town=["Ulm", "Rom", "Rom", "Oslo"])
    with pytest.warns(UserWarning, match="3 cells of column 'town' hold a category that training did not see"):
        model.predict(strange)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(frame[:4])  # the count begins anew


class Tags(HTMLParser):
    """Counts elements, and minds that each is closed."""

    void = frozenset({"br", "meta", "img"})

    def __init__(self, html):
        super().__init__()
        self.open, self.seen = [], []
        self.feed(html)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_what_a_notebook_shows(model):
    assert repr(model).startswith("<TrainedModel people: classification of buys, test accuracy 0.")
    assert len(repr(model)) < 120
    assert len(repr(model.fitted)) < 160
    html = model._repr_html_()
    seen = Tags(html).seen
    assert seen.count("svg") == 1
    assert "script" not in seen
    assert f"<dd>{model.metrics['test']['accuracy']:.4g}"[:8] in html
    assert "model.publish()" in html
    for rule in html.split("<style>")[1].split("</style>")[0].split("\n"):
        assert not rule.startswith((":root", "body {")), "a rule for the whole notebook"


def test_markup_in_names_is_shown_and_not_obeyed(tmp_path):
    name = "<b>x</b> [/kg]"
    frame = pd.DataFrame({"a": range(40), "c": 1, name: [0.5, 1.5] * 20})
    model = axon.fit(frame, target=name, name="kilo", epochs=1, hidden_sizes=(2,), progress=False)
    assert "<b>x</b>" not in model._repr_html_()
    assert "&lt;b&gt;x" in model._repr_html_()
    assert model.notes
    assert model.notes[0][:20] in model._repr_html_().replace(
        "&#x27;", "'"
    )  # the card shows the figures that `fit` prints
    assert "<b>x</b>" not in model.report().html
    model.publish(tmp_path)
    loaded = axon.load("kilo", tmp_path)
    assert loaded.target == name
    line = loaded._next()[0]  # what the card offers works as it is typed, also outside the default store
    assert eval(line, {"axon": axon, "frame": frame}) == model.predict(frame)


def test_publishing_writes_report_and_card_and_loading_answers_alike(model, frame, tmp_path, monkeypatch):
    monkeypatch.setenv("AXON_STORE", str(tmp_path))
    report = model.report()
    assert "Learning curves" in report.html
    assert 'sandbox=""' in report._repr_html_()
    assert repr(report).startswith("<Report of people: ")
    assert str(model.publish()) == "people@1"
    assert sorted(path.name for path in (tmp_path / "people/1").iterdir()) == [
        "README.md",
        "model.safetensors",
        "report.html",
    ]
    assert model.reference == "people@1"
    for reference in ("people", "people@1", "people@latest"):
        loaded = axon.load(reference)
        assert np.array_equal(loaded.predict_proba(frame), model.predict_proba(frame))
        assert loaded.metrics == model.metrics
        assert repr(loaded).startswith("<Model people@1: classification of buys, test accuracy 0.")
    html = loaded._repr_html_()
    assert Tags(html).seen.count("svg") == 1  # a loaded model knows how it learned
    assert "people@1" in html
    assert "Learning curves" in loaded.report().html
    assert loaded.report().save(tmp_path / "out.html").read_text(encoding="utf-8") == loaded.report().html
    bare = model.publish(report=False)
    with pytest.raises(DataError, match="people@2 has no report"):
        axon.load(str(bare)).report()
    with pytest.raises(ModelNotFound):
        axon.load("people@9")


def test_a_report_that_cannot_be_written_is_a_warning(model, tmp_path, monkeypatch):
    def write_report(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("training.reporting.files.write_report", write_report)
    with pytest.warns(UserWarning, match="people@1 is published, but has no report: No space left on device"):
        assert str(model.publish(tmp_path)) == "people@1"


def test_what_training_gives_takes_frames_too(frame):
    fitted = plain_fit(frame, target="buys", name="people", epochs=2, hidden_sizes=(4,))
    assert len(fitted.predict(frame)) == len(frame)
    assert fitted.predict_proba(frame).shape == (len(frame), 2)


def test_a_notebooks_bar_is_replaced_now_and_then_and_ends_with_the_last_epoch():
    shown, now = [], [0.0]
    with notebook_progress("flowers <1>", shown.append, clock=lambda: now[0]) as on_epoch:
        for number in range(1, 101):
            now[0] += 0.05
            on_epoch(Epoch(number=number, of=100, measures={"validation_loss": 1 / number}, is_best=True))
    assert 20 <= len(shown) <= 30  # five a second
    assert all(Tags(html).seen == ["div", "progress"] for html in shown)
    assert 'value="100" max="100"' in shown[-1]
    assert "epoch 100 of 100, validation loss 0.01, 5 s" in shown[-1]
    assert "flowers &lt;1&gt;" in shown[-1]
    assert " left" in shown[len(shown) // 2]
    assert bar_html("a", Epoch(number=1, of=2, measures={}, is_best=True), "") == (
        '<div style="font-family: monospace"><progress value="1" max="2"></progress> a: epoch 1 of 2</div>'
    )


def test_importing_axon_imports_nothing_heavy_and_unknown_names_are_told():
    code = "import sys, axon; print(sorted({'torch', 'pandas', 'training', 'models'} & set(sys.modules)), dir(axon))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("[] ")
    names = ("AsyncClient", "Client", "ColumnChoices", "Model", "Scorer", "TrainedModel", "fit", "load", "publish")
    assert all(repr(name) in ran.stdout for name in names)
    with pytest.raises(AttributeError, match=f"no attribute 'predict'; it has {', '.join(names)}"):
        axon.predict  # noqa: B018


def test_progress_is_shown_where_it_is_asked_for(capsys):
    axon.fit("xor", epochs=2, progress=True)
    assert "xor: epoch 1 of 2" in capsys.readouterr().err
    told = []
    axon.fit("xor", epochs=2, on_epoch=told.append)  # nobody looks: a pipe
    assert capsys.readouterr() == ("", "")
    assert [epoch.number for epoch in told] == [1, 2]
