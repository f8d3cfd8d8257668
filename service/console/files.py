"""The static files of the console, read once and kept in memory: content, compressed content, type and entity tag."""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from pathlib import Path

FOLDER = Path(__file__).parent / "static"
PAGE = "index.html"

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_HEAD = '<meta charset="utf-8">'
_VENDORED = "vendor"
# A comment that has lines of its own. Comments behind code stay: they may be parts of texts.
_COMMENT = re.compile(r"^[ \t]*(?://.*|/\*(?:(?!\*/)[\s\S])*\*/)[ \t]*$", re.MULTILINE)
_SPACE = re.compile(r"^\s+", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class ConsoleFile:
    """One file as browsers get the file.

    Attributes:
        content: bytes of the file.
        compressed: bytes of the file, compressed with gzip.
        media_type: media type for the header Content-Type.
        tag: entity tag without quotation marks, which changes with the content.
    """

    content: bytes
    compressed: bytes
    media_type: str
    tag: str

    @classmethod
    def of(cls, content: bytes, suffix: str) -> ConsoleFile:
        """Compresses a file.

        Args:
            content: bytes of the file.
            suffix: suffix of the file's name, such as `.js`.
        """
        return cls(
            content=content,
            compressed=gzip.compress(content, 9, mtime=0),
            media_type=_TYPES[suffix],
            tag=sha256(content).hexdigest()[:32],
        )


def read_files() -> Mapping[str, ConsoleFile]:
    """Reads all files but the page; returns the files by path, such as `views/models.js`. Takes about 20 ms.

    Scripts and styles are without comments and indentation, a tenth of the compressed bytes. Vendored files are as
    their packages have them.
    """
    paths = sorted(path for path in FOLDER.rglob("*") if path.suffix in _TYPES and path.name != PAGE)
    return {str(path.relative_to(FOLDER)): ConsoleFile.of(_content(path), path.suffix) for path in paths}


def _content(path: Path) -> bytes:
    """Returns the bytes of a file as browsers get the file."""
    if path.suffix not in (".js", ".css") or path.parent.name == _VENDORED:
        return path.read_bytes()
    return _SPACE.sub("", _COMMENT.sub("", path.read_text(encoding="utf-8"))).encode()


def read_page(root_path: str, *, needs_key: bool) -> ConsoleFile:
    """Reads the page, and writes into the page how the server is reached.

    Args:
        root_path: path prefix that a proxy adds, without a slash at the end; empty without a prefix.
        needs_key: True if the server has API keys, so that the page asks for one before the first request.
    """
    page = (FOLDER / PAGE).read_text(encoding="utf-8")
    if root_path:  # the page may be opened without the slash after the prefix, to which relative addresses refer
        page = page.replace(_HEAD, f'{_HEAD}\n<base href="{escape(root_path)}/">', 1)
    if needs_key:
        page = page.replace("<html ", '<html data-keys="needed" ', 1)
    return ConsoleFile.of(page.encode(), Path(PAGE).suffix)
