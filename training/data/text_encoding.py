"""The encoding of a text file, from its first bytes or the user, and errors for files in another encoding."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from models.errors import DataError
from training.data.text_format import TextFormat

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BINARIES = (
    (b"PAR1", "a Parquet file does: give it a name that ends in .parquet"),
    (b"PK\x03\x04", "a zip archive or an Excel workbook does: unpack it, or save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook does: save the sheet as CSV"),
    (b"ARROW1", "a Feather file does: save the table as Parquet or CSV"),
    (b"\x89HDF", "an HDF5 file does: save the table as Parquet or CSV"),
    (b"SQLite format 3", "an SQLite database does: export the table as CSV"),
    (b"%PDF", "a PDF document does: save the table as CSV"),
)


_MARKUPS = (
    (("<!doctype", "<html"), "a web page does: if it was fetched, the address gave an error or asked for a login"),
    (("<?xml",), "an XML file does: save its rows as CSV"),
    (('{"', "[{", '{\n  "'), "a JSON file does: give it a name that ends in .json to see what to do"),
)


def is_unicode(text: str) -> bool:
    """Returns True if a text has no lone surrogate, as the names of some files have."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_is_no_markup(path: Path, text: str) -> None:
    """Refuses a text that begins like JSON or a web page.

    Raises:
        DataError: the text is one of these; the message says what to do.
    """
    begins = text[:1_024].lstrip().lower()
    what = next((what for signs, what in _MARKUPS if begins.startswith(signs)), None)
    if what is not None:
        raise DataError(f"{path.name} is not a table of text, but begins as {what}.")


def encoding_of(path: Path, head: bytes, text_format: TextFormat) -> str:
    """Returns the encoding that the first bytes of a file show or the user gives; UTF-8 by default.

    Raises:
        DataError: the two contradict each other, or the file looks like UTF-16 without a byte order mark.
    """
    marked = next((encoding for bom, encoding in _BOMS if head.startswith(bom)), None)
    given = text_format.encoding
    if given is None:
        if marked is None and (unmarked := _unmarked_utf16(head)):
            raise DataError(f"{path.name} is not UTF-8, but looks like {unmarked}: say so (--encoding {unmarked}).")
        return marked or "utf-8"
    name = codecs.lookup(given).name
    if marked is None:
        return (_unmarked_utf16(head) or name) if name == "utf-16" else name
    family = marked.removesuffix("-sig")
    if not name.startswith(family):
        raise DataError(
            f"{path.name} begins with the byte order mark of {family.upper()}, but --encoding says {given}: leave "
            "--encoding out."
        )
    return marked


def _unmarked_utf16(head: bytes) -> str | None:
    """Returns the name of UTF-16 if bytes look like that without a mark, as mostly ASCII texts do; otherwise None."""
    some = head[:1_024]
    zeros = (some[0::2].count(0), some[1::2].count(0))
    if len(some) < 4 or max(zeros) < len(some) // 2 * 0.8 or min(zeros) > 0:
        return None
    return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"


def not_text(path: Path, chunk: bytes, line: int = 1) -> DataError:
    """Returns the error for a file that is not a text.

    Args:
        path: path of the file.
        chunk: bytes of the file; its first bytes where these show another type of file.
        line: number of the line with the first zero byte.
    """
    begins = next((what for magic, what in _BINARIES if chunk.startswith(magic)), None)
    if begins is None and line > 1:
        return DataError(f"{path.name}: line {line} holds a zero byte, which no text has: take it out.")
    return DataError(f"{path.name} is not a text file{'.' if begins is None else f', but begins as {begins}.'}")


def not_encoded(
    path: Path, chunk: bytes, error: UnicodeDecodeError, lines: int, encoding: str, text_format: TextFormat
) -> DataError:
    """Returns the error for a byte that is not valid in an encoding, with the word around the byte in cp1252."""
    if b"\0" in chunk and not encoding.startswith(("utf-16", "utf-32")):
        return not_text(path, chunk)
    line = lines + error.object.count(b"\n", 0, error.start)
    if error.start >= len(error.object):  # the file ends in the middle of a character
        return DataError(f"{path.name} is not {encoding}: it ends within a character.")
    byte = f"line {line} holds the byte 0x{error.object[error.start]:02x}"
    if text_format.encoding is not None:
        return DataError(f"{path.name} is not {text_format.encoding}: {byte}; name another encoding (--encoding).")
    if encoding not in ("utf-8", "utf-8-sig"):
        return DataError(f"{path.name} is not {encoding}, as its first bytes say: {byte}; save it as UTF-8.")
    word = _word_around(error.object, error.start)
    if "\ufffd" in word:
        return DataError(f"{path.name} is not UTF-8: {byte}. Name its encoding (--encoding), or save it as UTF-8.")
    return DataError(
        f"{path.name} is not UTF-8: {byte}, which cp1252 (western Windows) reads as {word!r}. If that is right, "
        "say so (--encoding cp1252); else name its encoding, or save it as UTF-8."
    )


def _word_around(data: bytes, at: int) -> str:
    """Returns the word around a byte, decoded as cp1252."""
    before = re.split(rb"[\s,;|\"]", data[max(at - 20, 0) : at])[-1]
    after = re.split(rb"[\s,;|\"]", data[at : at + 20])[0]
    return (before + after).decode("cp1252", errors="replace")
