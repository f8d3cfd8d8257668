"""A file is written whole or not at all, and what cannot be replaced is written directly."""

import os
import threading
from pathlib import Path

import pytest

from models.whole_file import output_file, write_whole, write_whole_together


def test_a_failed_write_leaves_the_earlier_file_and_nothing_else(tmp_path):
    place = tmp_path / "answers.csv"
    place.write_text("earlier")

    def fail():
        with output_file(place) as file:
            file.write(b"half")
            raise RuntimeError("the rest cannot be made")

    with pytest.raises(RuntimeError):
        fail()
    assert place.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [place]


def test_a_link_stays_and_the_file_behind_it_keeps_its_permissions(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    place, link = tmp_path / "elsewhere" / "answers.csv", tmp_path / "link.csv"
    place.write_text("earlier")
    place.chmod(0o640)
    link.symlink_to(place)
    with output_file(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert place.read_bytes() == b"new"
    assert place.stat().st_mode & 0o7777 == 0o640


def test_a_link_to_nowhere_makes_the_file(tmp_path):
    (tmp_path / "link.csv").symlink_to(tmp_path / "answers.csv")
    with output_file(tmp_path / "link.csv") as file:
        file.write(b"new")
    assert (tmp_path / "answers.csv").read_bytes() == b"new"


def test_a_pipe_is_written_directly(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()), daemon=True)
    reader.start()
    with output_file(pipe) as file:
        file.write(b"new")
    reader.join(30)
    assert found == [b"new"]
    assert pipe.is_fifo()


def test_a_full_device_is_an_error():
    with pytest.raises(OSError, match="No space left"), output_file(Path("/dev/full")) as file:
        file.write(b"new")


@pytest.mark.parametrize("name", ["n" * 255, "é" * 127])  # the longest that file systems take, in UTF-8
def test_the_longest_names_are_written(tmp_path, name):
    write_whole(tmp_path / name, b"new")
    assert (tmp_path / name).read_bytes() == b"new"


def test_files_that_belong_together_are_all_replaced_or_none(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    write_whole_together({first: b"one", second: b"two"})
    assert (first.read_bytes(), second.read_bytes()) == (b"one", b"two")
    nowhere = tmp_path / "nowhere" / "third"
    with pytest.raises(FileNotFoundError):
        write_whole_together({first: b"new", nowhere: b"new"})
    assert sorted(tmp_path.iterdir()) == [first, second]
    assert first.read_bytes() == b"one"
