"""The output of a run and of a table, on terminals of several widths, and where no progress bar can be drawn."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from io import StringIO
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from models.network.config import MLPConfig
from models.network.summary import summarize
from training.engines.engine import Epoch
from training.fitted_table import print_fitted
from training.live import LINE_SECONDS, TimeLeft, draws_bars, duration
from training.progress import main_figure, progress, study_progress
from training.studies.steps import following, steps

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

NUMPY = ("fit", "xor", "--engine", "numpy", "--no-report")  # importing torch takes longer than this training


def on_a_terminal(tmp_path, *arguments, columns=80, **variables):
    """Returns the output of a command on a terminal, as lines without colours; each state of a bar is a line."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "AXON_STORE": str(tmp_path), **variables}
    for name in ("NO_COLOR", "CI"):
        if name not in variables:
            environment.pop(name, None)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = [sys.executable, "-m", "training", *arguments]
    written = b""
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=tmp_path) as run:
        os.close(theirs)
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # Linux raises it at the end of a terminal
                break
            if not piece:
                break
            written += piece
        os.close(ours)
    assert run.returncode == 0, written.decode()
    return [line for line in re.split(r"[\r\n]+", _CONTROL.sub("", written.decode())) if line.strip()]


def test_a_bar_fits_and_has_epoch_figure_and_time_left(tmp_path):
    lines = on_a_terminal(tmp_path, *NUMPY, "--epochs", "15000")
    bars = [line for line in lines if "━" in line and "epoch" in line]
    assert all(cell_len(line) <= 80 for line in bars)
    assert any(re.search(r"xor .*━.* epoch \d+/15000 val\. loss \S+ +\d+ s left", line) for line in bars), bars
    assert lines[-1] == "published xor@1"


@pytest.mark.parametrize("variable", ["NO_COLOR", "CI"])
def test_no_color_and_ci_get_lines_on_a_terminal_too(tmp_path, variable):
    lines = on_a_terminal(tmp_path, *NUMPY, "--epochs", "3", **{variable: "1"})
    assert any(line.startswith("xor: epoch 1 of 3, train loss") for line in lines)
    assert not any("━" in line for line in lines)


def test_a_study_says_its_claim_first_and_then_shows_how_far_it_is(tmp_path):
    lines = on_a_terminal(tmp_path, "study", "perceptron", "--quick")
    assert lines[0].startswith("perceptron: ")
    steps_shown = [match[0] for line in lines if (match := re.search(r"step \d/\d", line))]
    assert steps_shown
    assert lines.index(next(line for line in lines if "step " in line)) > 0
    assert lines[-1] == "plot: perceptron.svg"


def test_inspect_fits_its_terminal_and_loses_nothing(tmp_path):
    lines = on_a_terminal(tmp_path, "inspect", "wine")
    table = lines[: lines.index(next(line for line in lines if line.startswith("A classification")))]
    assert max(map(cell_len, table)) <= 80
    assert table[1].split() == ["column", "role", "kind", "missing", "distinct"]
    at = next(i for i, line in enumerate(table) if line.startswith("od280_od315_of_diluted_wines "))
    assert table[at].split()[1:] == ["feature", "numeric", "122"]
    assert table[at + 1] == "    values: 1.27 … 4  becomes: scaled number"


def ranked():
    table = Table(title="a search [of wine]")
    for name in ("", "trial", "log_loss", "learning_rate", "hidden_sizes", "activation", "parameters"):
        table.add_column(name, justify="left" if name == "activation" else "right")
    table.add_row("1", "12 (defaults)", "0.1234 ± 0.012", "0.0400", "256,256,256", "selu", "139,267")
    table.add_row("2", "3", "0.2", "0.001", "64", "", "1,067")
    table.add_column("remark")
    table.columns[-1]._cells = ["a long sentence that may wrap where it has to", ""]
    return table


def shown(table, width):
    out = StringIO()
    print_fitted(Console(file=out, width=width, color_system=None), table)
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [30, 50, 80, 100])
def test_columns_without_room_go_below_their_row(width):
    lines = shown(ranked(), width)
    assert lines[0].strip().startswith("a search [of wine]")
    assert max(map(cell_len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    for cell in ("12 (defaults)", "0.1234 ± 0.012", "0.0400", "256,256,256", "selu", "139,267", "0.001", "1,067"):
        assert cell in text, cell
    first, second = (i for i, line in enumerate(lines) if "0.1234" in line or "0.2" in line.split())
    assert first < second
    assert any("139,267" in line for line in lines[first:second])  # below its own row
    if width < 80:
        assert "parameters: 139,267" in text
    assert "a long sentence" in text


def test_where_there_is_room_a_table_is_as_it_was():
    table = ranked()
    plain = StringIO()
    Console(file=plain, width=200, color_system=None).print(ranked())
    assert "\n".join(shown(table, 200)) == plain.getvalue().rstrip("\n")


def test_a_summary_goes_below_itself_and_its_columns_still_sum_to_the_totals():
    summary = summarize(MLPConfig(layer_sizes=(4, 1000, 3), normalization="batch"), title="wide@1")
    wide, narrow = summary.to_text(), summary.to_text(60)
    assert max(map(len, wide.splitlines())) > 60 >= max(map(len, narrow.splitlines()))
    rows = re.findall(r"^(?:layers|norms)\S* +\w+ +([\d,]+) +([\d,]+)\n    (\(.*\))$", narrow, re.MULTILINE)
    assert sum(int(params.replace(",", "")) for params, _, _ in rows) == summary.total_params
    assert rows[0][-1] == "(-1, 4) → (-1, 1000)"
    assert summary.to_text(200) == wide


def epochs(count):
    for number in range(1, count + 1):
        yield Epoch(number=number, of=count, measures={"train_loss": 0.5, "validation_loss": 0.25}, is_best=True)


def test_a_pipe_gets_a_line_every_few_seconds():
    out, now = StringIO(), [0.0]
    with progress(Console(file=out, width=200), "a [b] table", clock=lambda: now[0]) as on_epoch:
        for epoch in epochs(100):
            now[0] += 0.5
            on_epoch(epoch)
    lines = out.getvalue().splitlines()
    assert len(lines) == pytest.approx(50 / LINE_SECONDS, abs=2)
    assert lines[0] == "a [b] table: epoch 1 of 100, train loss 0.5, validation loss 0.25"
    assert lines[1].endswith(" left")
    assert lines[-1] == "a [b] table: epoch 100 of 100, train loss 0.5, validation loss 0.25"


def test_the_time_left_is_the_pace_of_this_run():
    now = [0.0]
    left = TimeLeft(lambda: now[0])
    assert left.after(41, 101) == ""  # a run that is resumed after epoch 40
    now[0] = 10.0
    assert left.after(51, 101) == "50 s left"
    assert left.after(101, 101) == ""
    assert [duration(s) for s in (8.4, 200, 7500)] == ["8 s", "3 min 20 s", "2 h 5 min"]


def test_a_bar_names_the_figure_that_chooses_the_epoch():
    assert main_figure({"train_loss": 1, "validation_loss": 0.5, "validation_error": 0.04351}) == "val. error 0.04351"
    assert main_figure({"train_loss": 1, "validation_loss": 0.5}) == "val. loss 0.5"
    assert main_figure({"mistakes": 3}) == "mistakes 3"
    assert main_figure({}) == ""


def test_who_gets_a_bar():
    terminal = Console(force_terminal=True)
    assert draws_bars(terminal, {})
    assert not draws_bars(terminal, {"NO_COLOR": "1"})
    assert not draws_bars(terminal, {"CI": "true"})
    assert draws_bars(terminal, {"CI": "false"})
    assert draws_bars(terminal, {"NO_COLOR": ""})  # https://no-color.org: an empty string does not count
    assert not draws_bars(Console(file=StringIO()), {})


def test_steps_tell_how_far_a_study_is_and_change_nothing():
    told = []
    with following(lambda done, of: told.append((done, of))):
        assert list(steps("abc")) == ["a", "b", "c"]
        assert list(steps([])) == []
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert list(steps("abc")) == ["a", "b", "c"]
    assert len(told) == 4
    out = StringIO()
    with study_progress(Console(file=out), "xor") as on_step:
        on_step(0, 3)  # ends before a line is due
    assert out.getvalue() == ""
