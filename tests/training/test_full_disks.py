"""Full and read-only disks are refused at once; if a disk fills up during training, the model is kept."""

import pytest
from tiny_disk import on_a_tiny_disk

from models.checkpoint import load_checkpoint

TRAINED_AND_THEN = """
import sys
from pathlib import Path
import training.commands.fit as command
from training.cli import main
real = command.fit
def fit_and_then(*arguments, **options):
    model = real(*arguments, **options)
    with open("store/fill", "wb", buffering=0) as file:
        try:
            while True: file.write(bytes(1000))
        except OSError: pass
    return model
command.fit = fit_and_then
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("before", "place"), [("true", "unpublished/"), ("touch unpublished", "tmp/axon-xor-")], ids=["", "and one more"]
)
@pytest.mark.slow
def test_a_store_that_fills_up_while_it_trains_loses_no_model(tmp_path, before, place):
    (tmp_path / "tmp").mkdir()
    arguments = ("fit", "xor", "--engine", "numpy", "--epochs", "2", "--hidden", "8", "--quiet")
    before = f"{before}; export TMPDIR={tmp_path}/tmp"
    ran = on_a_tiny_disk(
        tmp_path / "store", "size=64k", TRAINED_AND_THEN, *arguments, "--store", "store", before=before
    )
    assert ran.returncode == 3, ran.stderr
    path = tmp_path / ran.stdout.splitlines()[-1].removeprefix("kept ")
    assert str(path.relative_to(tmp_path)).startswith(place)
    assert load_checkpoint(path).checkpoint.data["name"] == "xor"
    assert {page.name for page in path.parent.iterdir()} == {"model.safetensors", "report.html", "README.md"}
    assert "The store failed: " in ran.stderr
    assert "No space left on device" in ran.stderr
    assert f"python -m training publish {ran.stdout.split()[-1]} --store store" in ran.stderr


REFUSED_AT_ONCE = "import sys; from training.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.mark.parametrize(
    "command_line", [("fit", "xor"), ("search", "xor", "--trials", "1"), ("search", "xor", "--population", "2")]
)
def test_a_store_without_room_is_refused_before_training(tmp_path, command_line):
    ran = on_a_tiny_disk(tmp_path / "store", "size=64k,ro", REFUSED_AT_ONCE, *command_line, "--store", "store")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == (
        "error: cannot write to store/xor: Read-only file system, so nothing was trained: name another store "
        "(--store FOLDER), or keep the model elsewhere (--no-publish).\n"
    )


@pytest.mark.slow
def test_a_store_without_room_for_this_network_is_refused_before_training(tmp_path):
    run = ("fit", "xor", "--engine", "numpy", "--hidden", "300,300", "--store", "store")
    ran = on_a_tiny_disk(tmp_path / "store", "size=64k", REFUSED_AT_ONCE, *run)
    assert ran.returncode == 2
    assert "epoch 1" not in ran.stderr
    assert "cannot write to store/xor: No space left on device, so nothing was trained" in ran.stderr
    ran = on_a_tiny_disk(tmp_path / "store", "size=64k", REFUSED_AT_ONCE, *run, "--no-publish", "--epochs", "1")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "kept unpublished/xor-1/model.safetensors"


SEARCHED_AND_THEN = """
import sys
from training.cli import main
from training.search.trials.session import Session
real = Session.done
def done_and_then(self, number, outcome):
    real(self, number, outcome)
    if number == 1:
        with open("searches/fill", "wb", buffering=0) as file:
            try:
                while True: file.write(bytes(1000))
            except OSError: pass
Session.done = done_and_then
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_search_whose_record_has_no_room_any_more_loses_no_model(tmp_path):
    arguments = ("search", "xor", "--engine", "numpy", "--epochs", "3", "--trials", "100", "--store", "store")
    ran = on_a_tiny_disk(tmp_path / "searches", "size=600k", SEARCHED_AND_THEN, *arguments)
    assert (ran.returncode, "Traceback" in ran.stderr) == (3, False), ran.stderr
    path = tmp_path / ran.stdout.splitlines()[-1].removeprefix("kept ")
    assert path == tmp_path / "store/.unpublished/xor-1/model.safetensors"
    assert load_checkpoint(path).checkpoint.data["name"] == "xor"
    assert "xor is not published. The search broke off (database or disk is full); trial " in ran.stderr
