"""Checks that no page of the built documentation loads anything from another host; exits with 1 on a finding.

A link that a reader follows may lead anywhere. The theme's script knows the addresses of some other hosts, for features
that `mkdocs.yml` leaves off. A page with the mark of such a feature is a finding too.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

LOADED = {"src", "href", "srcset", "poster", "data", "action"}
ELSEWHERE = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
STYLE_ELSEWHERE = re.compile(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^\"')\s]+", re.IGNORECASE)
MARKS = {"mermaid", "glightbox", "pyodide"}  # classes for which the theme's script loads a script from elsewhere


class Page(HTMLParser):
    """The findings of one page."""

    def __init__(self) -> None:
        super().__init__()
        self.findings: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Looks at the attributes of one element."""
        for name, value in attrs:
            given = value or ""
            if tag != "a" and name in LOADED and ELSEWHERE.match(given):
                self.findings.append(f"<{tag} {name}={given}>")
            if name == "style" and STYLE_ELSEWHERE.search(given):
                self.findings.append(f"<{tag} style={given}>")
            if name == "class" and MARKS & set(given.split()):
                self.findings.append(f"<{tag} class={given}>")
            if name == "data-md-component" and given == "source":
                self.findings.append(f"<{tag} data-md-component=source>, which asks GitHub for stars")


def main() -> int:
    """Prints each finding and returns the exit code."""
    root = Path(sys.argv[1])
    pages = sorted(root.rglob("*.html"))
    findings = [f"{path}: {finding}" for path in [*pages, *sorted(root.rglob("*.css"))] for finding in found_in(path)]
    print("\n".join(findings), end="\n" if findings else "")
    print(f"site: {len(pages)} pages, {len(findings)} findings", file=sys.stderr)
    return 1 if findings or not pages else 0


def found_in(path: Path) -> Iterator[str]:
    """Yields what a page or a style sheet loads from another host."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".css":
        yield from (found[0] for found in STYLE_ELSEWHERE.finditer(text))
        return
    page = Page()
    page.feed(text)
    page.close()
    yield from page.findings


if __name__ == "__main__":
    sys.exit(main())
