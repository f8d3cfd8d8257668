"""A source's files are all of its rows, each once: what is hidden, unreadable, linked or of a lake's old rows."""

import os
import subprocess
import sys

import pytest

from models.errors import DataError
from scoring.source_files import files_of


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def names_of(source):
    return [file.name for file in files_of(source)]


@pytest.mark.parametrize("pattern", ["", "/**/*.parquet", "/**"])
def test_what_is_hidden_below_the_root_is_passed_over(tmp_path, pattern):
    root = tmp_path / "_rows"  # the root itself was named
    make(root, "a.parquet", "b/c.parquet", "_temporary/0/d.parquet", "b/.e.parquet", "_date=2024-01-01/f.parquet")
    assert names_of(f"{root}{pattern}") == ["_date=2024-01-01/f.parquet", "a.parquet", "b/c.parquet"]


@pytest.mark.parametrize("pattern", ["", "/*.parquet", "/**/*.parquet", "/year=*/*.parquet", "/year=*"])
@pytest.mark.parametrize(
    ("mark", "what"),
    [("_delta_log/0.json", "a Delta Lake table"), (".hoodie/x", "a Hudi"), ("metadata/v1.metadata.json", "an Iceberg")],
)
def test_tables_that_keep_old_rows_among_their_files_are_refused(tmp_path, pattern, mark, what):
    make(tmp_path, "part.parquet", "year=2024/part.parquet", mark)
    with pytest.raises(DataError, match=f"is {what}.*deleted or replaced"):
        files_of(f"{tmp_path}{pattern}")


@pytest.mark.parametrize("pattern", ["", "/*", "/**/*.parquet"])
def test_links_to_folders_are_followed(tmp_path, pattern):
    make(tmp_path / "rows", "a.parquet")
    make(tmp_path / "elsewhere", "b.parquet")
    (tmp_path / "rows" / "linked").symlink_to(tmp_path / "elsewhere")
    assert names_of(f"{tmp_path / 'rows'}{pattern}") == ["a.parquet", "linked/b.parquet"]


def test_rows_that_links_would_give_twice_are_refused(tmp_path):
    make(tmp_path, "a/part.parquet")
    (tmp_path / "a" / "latest.parquet").symlink_to("part.parquet")
    with pytest.raises(DataError, match=r"a/latest.parquet and .*a/part.parquet are one file"):
        files_of(tmp_path)
    (tmp_path / "a" / "latest.parquet").unlink()
    (tmp_path / "a" / "back").symlink_to(tmp_path)
    with pytest.raises(DataError, match="are one folder, by a link"):
        files_of(tmp_path)


@pytest.mark.parametrize("pattern", ["", "/*/*.parquet", "/**/*.parquet", "/**"])
def test_a_folder_that_cannot_be_read_is_refused_by_name(tmp_path, pattern):
    make(tmp_path, "a/x.parquet", "b/y.parquet")
    (tmp_path / "b").chmod(0)
    code = (
        "import os, sys; from models.errors import DataError; from scoring.source_files import files_of\n"
        "os.getuid() or os.setuid(12345)\n"  # the administrator reads all folders
        "try: print([file.name for file in files_of(sys.argv[1])])\n"
        "except DataError as error: print(error)\n"
    )
    for folder in (tmp_path, *list(tmp_path.parents)[:3]):  # pytest's folders are its user's alone
        if folder.stat().st_uid == os.getuid() and folder.name != "tmp":
            folder.chmod(0o755)
    try:
        ran = subprocess.run(
            [sys.executable, "-c", code, f"{tmp_path}{pattern}"], capture_output=True, text=True, check=True, timeout=60
        )
    finally:
        (tmp_path / "b").chmod(0o755)
    assert ran.stdout == f"{tmp_path / 'b'} cannot be read: Permission denied.\n"
