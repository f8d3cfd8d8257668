"""The command `study`: lists, output, plots, refusals and exit codes."""

import contextlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from models.study_record import read_plot, read_study
from training.cli import main
from training.plotting.plot_file import write_plot
from training.studies import xor
from training.studies.explanations import EXPLANATIONS
from training.studies.registry import STUDIES
from training.studies.study import StudyTable

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


@pytest.fixture
def command(tmp_path, capsys, monkeypatch):
    """Runs commands in this process in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run_here(*arguments):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as exit_:
            code = exit_.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_here


def test_without_a_name_the_studies_are_listed(command):
    code, out, _ = command("study")
    assert code == 0
    assert all(f"{study.name} " in out and study.about in out for study in STUDIES.values())


def test_a_study_prints_its_table_and_says_where_its_plot_is(command, tmp_path):
    code, out, err = command("study", "xor", "--quick")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"xor: {xor.XorResult.claim}"
    assert "p(1 | 0 1)" in out
    assert lines[-2].startswith("It held. ")
    assert lines[-1] == "plot: xor.svg"
    assert (tmp_path / "xor.svg").read_text().rstrip().endswith("</svg>")


@pytest.fixture(scope="module")
def every(tmp_path_factory):
    """One run of all studies, which takes a while: (exit code, stdout, folder of the plots)."""
    folder, out = tmp_path_factory.mktemp("every"), io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            code = main(["study", "all", "--quick", "--json", "--folder", str(folder)])
        except SystemExit as exit_:
            code = exit_.code
    return code, out.getvalue(), folder


def test_all_of_them_run_in_one_go(every):
    code, out, folder = every
    assert code == 0
    assert [record["study"] for record in json.loads(out)] == list(STUDIES)
    assert {path.name for path in folder.iterdir()} == {f"{name}.svg" for name in STUDIES}


@pytest.mark.parametrize("name", STUDIES)
def test_json_has_claim_verdict_and_tables(every, name):
    _, out, folder = every
    [result] = [record for record in json.loads(out) if record["study"] == name]
    assert result["holds"] is True, result["verdict"]
    assert result["claim"] == STUDIES[name].claim
    assert all(table["rows"] for table in result["tables"])
    assert (folder / f"{name}.svg").read_text().rstrip().endswith("</svg>")


def test_json_of_one_study_is_one_record_and_its_plot_may_be_a_png(command, tmp_path):
    code, out, _ = command("study", "xor", "--quick", "--json", "--plot", tmp_path / "plot.png")
    result = json.loads(out)
    assert (code, result["study"], result["holds"]) == (0, "xor", True)
    assert result["plot"] == str(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_a_claim_that_does_not_hold_is_said_and_is_exit_code_1(command, monkeypatch):
    monkeypatch.setattr(xor, "LEARNING_RATE", 1e-9)
    code, out, _ = command("study", "xor", "--quick")
    assert code == 1
    assert "It did not hold in this run." in out


def test_an_option_of_one_study_reaches_it(command):
    code, out, _ = command("study", "depth", "--bits", 3, "--quick", "--json")
    assert code == 0
    assert [row["bits"] for row in json.loads(out)["tables"][0]["rows"]] == [2, 3]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("study", "xor", "--plot", "plot.gif"), ".svg or .png"),
        (("study", "xor", "--plot", "nowhere/plot.svg"), "'nowhere'"),
        (("study", "all", "--folder", "nowhere/plots"), "'nowhere/plots' cannot be made"),
        (("study", "depth", "--bits", "40"), "from 2 to 16, got 40"),
        (("study", "approximation", "--widths", "4"), "two different numbers"),
        (("study", "xor", "--seed", "-1"), "--seed"),
        (("study", "xor", "--bits", "3"), "--bits"),
        (("study", "mnist"), "mnist"),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_is_written(command, tmp_path, wrong, said):
    code, out, err = command(*wrong)
    assert code == 2
    assert out == ""
    assert said in err
    assert list(tmp_path.iterdir()) == []


def test_a_plot_that_the_disk_refuses_is_one_sentence(command, tmp_path):
    (tmp_path / "taken.svg").mkdir()
    code, _, err = command("study", "xor", "--quick", "--plot", "taken.svg")
    assert code == 2
    assert re.fullmatch(r"error: the plot cannot be written to 'taken\.svg': .+\.\n", err)


def test_the_same_result_is_the_same_svg(tmp_path):
    for name in ("a.svg", "b.svg"):
        write_plot(xor.run(seed=1, quick=True).draw, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_the_seed_changes_the_run(command):
    first, again, other = (command("study", "xor", "--quick", "--json", "--seed", seed)[1] for seed in (1, 1, 2))
    assert first == again != other


def test_the_command_line_is_built_without_torch_and_matplotlib():
    script = (
        "import sys, training.cli; training.cli.build_parser(); "
        "print({'torch', 'matplotlib', 'sklearn'} & {*sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_a_table_checks_its_rows():
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        StudyTable(title="t", columns=("a", "b"), rows=((1,),))
    with pytest.raises(ValueError, match="same heading"):
        StudyTable(title="t", columns=("a", "a"), rows=())


def test_the_page_on_studies_has_every_claim_and_option():
    page = (ROOT / "docs/studies.md").read_text(encoding="utf-8")
    flat = " ".join(page.split())
    for study in STUDIES.values():
        assert f"## {study.name}" in page
        assert study.claim in flat
        assert all(f"--{option.name}" in page for option in study.options)


def test_the_page_shows_the_picture_of_every_study():
    page = (ROOT / "docs/studies.md").read_text(encoding="utf-8")
    for name in STUDIES:
        section = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
        assert re.search(rf"!\[[^\]]+\]\(studies/{name}\.svg\)", section), name
        picture = ROOT / f"docs/studies/{name}.svg"
        assert ElementTree.parse(picture).getroot().tag == "{http://www.w3.org/2000/svg}svg"
        assert picture.stat().st_size < 350_000, name
    assert {path.stem for path in (ROOT / "docs/studies").iterdir()} == {*STUDIES}


def test_a_diagram_is_printed_as_mermaid_and_is_in_the_json(command):
    from training.studies import graph

    first = graph.run(quick=True).diagrams()[0]
    assert f"{first.title}, as Mermaid\n\n{first.mermaid}\n" in command("study", "graph", "--quick")[1]
    told = json.loads(command("study", "graph", "--quick", "--json")[1])
    assert told["diagrams"][0] == {"title": first.title, "mermaid": first.mermaid}
    assert json.loads(command("study", "xor", "--quick", "--json")[1])["diagrams"] == []


def test_a_published_result_is_in_the_store_with_its_plot(command, tmp_path):
    code, out, _ = command("study", "xor", "--quick", "--seed", 1, "--publish", "--store", "models")
    assert code == 0
    assert out.splitlines()[-1] == "published: models/.studies/xor.json"
    record = read_study(tmp_path / "models", "xor")
    told = xor.run(seed=1, quick=True)
    assert (record.claim, record.verdict, record.holds) == (told.claim, told.verdict, True)
    assert (record.seed, record.quick, record.plot) == (1, True, "svg")
    assert record.tables == [table.to_dict() for table in told.tables()]
    assert read_plot(tmp_path / "models", record) == (tmp_path / "xor.svg").read_bytes()


def test_a_claim_that_does_not_hold_is_published_as_such(command, monkeypatch, tmp_path):
    monkeypatch.setattr(xor, "LEARNING_RATE", 1e-9)
    assert command("study", "xor", "--quick", "--publish", "--store", "models")[0] == 1
    assert read_study(tmp_path / "models", "xor").holds is False


def test_nothing_is_published_unasked(command, tmp_path):
    command("study", "xor", "--quick", "--store", "models")
    assert [path.name for path in tmp_path.iterdir()] == ["xor.svg"]


def test_every_study_is_explained():
    assert EXPLANATIONS.keys() == STUDIES.keys()
    assert all(100 < len(text) < 450 for text in EXPLANATIONS.values())
