"""Sources that cannot be read: URLs and files of other programs, each with a message on what to do instead."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")
_SHEET = "save the sheet as CSV in the program that wrote it"
# By suffix: the name of the file type, and the pandas call that reads such a file.
_BY_PANDAS = {
    ".json": ("a JSON file", "read_json({})"),
    ".jsonl": ("a file of JSON lines", "read_json({}, lines=True)"),
    ".ndjson": ("a file of JSON lines", "read_json({}, lines=True)"),
    ".feather": ("a Feather file", "read_feather({})"),
    ".arrow": ("an Arrow file", "read_feather({})"),
    ".orc": ("an ORC file", "read_orc({})"),
    ".dta": ("a Stata file", "read_stata({})"),
    ".sas7bdat": ("a SAS file", "read_sas({})"),
    ".xpt": ("a SAS file", "read_sas({})"),
}
_OTHERS = {
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".xlsb"), ("an Excel workbook", _SHEET)),
    **dict.fromkeys((".ods", ".numbers"), ("a spreadsheet", _SHEET)),
    ".zip": ("a zip archive", "unpack it first, and name the table in it"),
    ".tar": ("an archive", "unpack it first, and name the table in it"),
    ".tgz": ("an archive", "unpack it first, and name the table in it"),
    ".7z": ("an archive", "unpack it first, and name the table in it"),
    ".rar": ("an archive", "unpack it first, and name the table in it"),
    ".arff": ("an ARFF file", "save its rows as CSV, with the names of the columns in the first line"),
    ".sav": ("an SPSS file", "save it as CSV"),
    ".rds": ("a file of R", "write it in R with write.csv(…, row.names = FALSE)"),
    ".rdata": ("a file of R", "write it in R with write.csv(…, row.names = FALSE)"),
    ".pkl": ("a pickle, which can run code when it is read", "write the data frame with to_parquet"),
    ".pickle": ("a pickle, which can run code when it is read", "write the data frame with to_parquet"),
    ".npy": ("a NumPy array, whose columns have no names", "write it as CSV with a header"),
    ".npz": ("a file of NumPy arrays, whose columns have no names", "write one as CSV with a header"),
    ".h5": ("an HDF5 file", "write the table with to_parquet"),
    ".hdf5": ("an HDF5 file", "write the table with to_parquet"),
    ".avro": ("an Avro file", "write the table as Parquet"),
    ".db": ("a database", "export the table as CSV"),
    ".sqlite": ("a database", "export the table as CSV"),
    ".sqlite3": ("a database", "export the table as CSV"),
    ".duckdb": ("a database", "export the table as CSV or Parquet"),
    ".html": ("a web page", "save its table as CSV"),
    ".xml": ("an XML file", "save its rows as CSV"),
    ".pdf": ("a document", "save its table as CSV"),
}
_FETCH = {
    "http": "curl -fLO {}",
    "https": "curl -fLO {}",
    "ftp": "curl -fLO {}",
    "s3": "aws s3 cp {} .",
    "s3a": "aws s3 cp {} .",
    "gs": "gcloud storage cp {} .",
    "hdfs": "hdfs dfs -get {}",
}


def address_refusal(source: str | Path) -> str | None:
    """Returns a message that refuses a URL and names a remedy; None for a source that is not a URL."""
    text = str(source)
    match = _ADDRESS.match(text)
    if match is None:
        return None
    scheme = match[1].lower()
    if scheme == "file":
        return f"{text!r} is an address: name the file by its path, {'/' + text[match.end() :]}."
    if isinstance(source, Path):  # Path replaces the two slashes by one
        text = f"{match[1]}://{text[match.end() :]}"
    remedy = f" ({_FETCH[scheme].format(shlex.quote(text))})" if scheme in _FETCH else ""
    return (
        f"{text!r} is an address, and only files of this machine are read: fetch it first{remedy}, and name the file."
    )


def format_refusal(path: Path, bare: Path) -> str | None:
    """Returns a message that refuses a file of another program and names a remedy; None for an unknown suffix.

    Args:
        path: path of the file.
        bare: the same path without the suffix of a compression.
    """
    suffix = bare.suffix.lower()
    if suffix in _BY_PANDAS:
        what, call = _BY_PANDAS[suffix]
        read, written = (json.dumps(str(name), ensure_ascii=False) for name in (path, bare.with_suffix(".parquet")))
        code = f"import pandas; pandas.{call.format(read)}.to_parquet({written})"
        return f"{path} is {what}, which is not read. Write it as Parquet: python -c {shlex.quote(code)}"
    if suffix in _OTHERS:
        what, remedy = _OTHERS[suffix]
        return f"{path} is {what}, which is not read: {remedy}."
    return None
