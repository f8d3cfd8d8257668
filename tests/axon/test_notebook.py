"""A notebook: cells run in a real kernel, and their output is checked."""

import json
import os
import sys
from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient", reason="runs a notebook")
nbformat = pytest.importorskip("nbformat", reason="runs a notebook")
pytest.importorskip("ipykernel", reason="runs a notebook")

ROOT = Path(__file__).parents[2]

FIT = 'import axon; model = axon.fit("iris", epochs=8, hidden_sizes=(4,)); model'
SLOW = """
import os, signal
def interrupt(epoch):  # the stop button sends this signal to the kernel
    if epoch.number == 3:
        os.kill(os.getpid(), signal.SIGINT)
axon.fit("iris", epochs=100_000, hidden_sizes=(4,), on_epoch=interrupt).notes[-1]
"""


@pytest.mark.filterwarnings("ignore")  # warnings of the kernel's client
def test_cells_show_progress_model_and_report_and_stop(tmp_path, monkeypatch):
    kernel = {"argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], "language": "python"}
    spec = tmp_path / "share/kernels/axon"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(json.dumps(kernel | {"display_name": "axon"}))
    for name, value in {
        "JUPYTER_PATH": tmp_path / "share",
        "HOME": tmp_path,
        "AXON_STORE": tmp_path / "store",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }.items():
        monkeypatch.setenv(name, str(value))
    sources = [FIT, "model.report()", "str(model.publish())", 'axon.load("iris")', SLOW]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="axon", resources={"metadata": {"path": tmp_path}}
    ).execute()
    shown = [[output.get("data", {}) for output in cell.outputs] for cell in notebook.cells]
    bar, model = shown[0]
    assert 'value="8" max="8"' in bar["text/html"]  # the bar is replaced in place, so there is one output
    assert "<svg" in model["text/html"]
    assert model["text/plain"].startswith("<TrainedModel iris: classification of species")
    assert shown[1][0]["text/html"].startswith("<iframe srcdoc=")
    assert shown[2][0]["text/plain"] == "'iris@1'"
    assert "axon.load(&quot;iris@1&quot;).predict(frame)" in shown[3][0]["text/html"]
    assert "Stopped on request after epoch 3" in shown[4][-1]["text/plain"]
