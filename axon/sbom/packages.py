"""The components that a program consists of: Python, its installed packages, and the packages of a Debian system."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote

DPKG_STATUS = Path("/var/lib/dpkg/status")
OS_RELEASE = Path("/etc/os-release")

_OSI = "License :: OSI Approved :: "
_LONGEST_LICENSE = 100  # characters of the field License, into which some packages write the whole text
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")


@dataclass(frozen=True)
class Package:
    """A component with its requirements.

    Attributes:
        ref: package URL, the identifier of the component.
        component: component in the form of CycloneDX.
        requires: normalized names of the packages that this one requires.
    """

    ref: str
    component: Mapping[str, Any]
    requires: tuple[str, ...] = ()


def python_packages(found: Iterable[Distribution] | None = None) -> dict[str, Package]:
    """Returns the installed packages by normalized name. Of two with one name, Python imports the first.

    Args:
        found: distributions to describe; those of this Python if None.
    """
    packages: dict[str, Package] = {}
    for distribution in distributions() if found is None else found:
        name = distribution.metadata["Name"]
        if name and (key := normalized(name)) not in packages:
            packages[key] = _python_package(key, distribution)
    return dict(sorted(packages.items()))


def python_itself() -> Package:
    """Returns the interpreter."""
    version = platform.python_version()
    ref = f"pkg:generic/cpython@{version}"
    return Package(
        ref,
        {
            "type": "platform",
            "bom-ref": ref,
            "name": platform.python_implementation().lower(),
            "version": version,
            "purl": ref,
            "licenses": [{"expression": "PSF-2.0"}],
        },
    )


def system_packages(status: Path = DPKG_STATUS, release: Path = OS_RELEASE) -> Iterator[Package]:
    """Yields the operating system, and the installed packages of Debian or a derivative.

    Args:
        status: file of dpkg with the installed packages.
        release: file that names the system.
    """
    system = _fields(release.read_text(encoding="utf-8"), "=") if release.is_file() else {}
    kind, version = system.get("ID", "linux").strip('"'), system.get("VERSION_ID", "").strip('"')
    component = {"type": "operating-system", "bom-ref": f"os:{kind}", "name": kind}
    yield Package(f"os:{kind}", component | ({"version": version} if version else {}))
    if not status.is_file():
        return
    for paragraph in status.read_text(encoding="utf-8", errors="replace").split("\n\n"):
        fields = _fields(paragraph, ": ")
        if fields.get("Status", "").endswith(" installed"):
            yield _debian_package(fields, kind)


def normalized(name: str) -> str:
    """Returns a package's name in the normal form of Python's package indexes."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _python_package(key: str, distribution: Distribution) -> Package:
    metadata: Any = distribution.metadata
    version = re.sub(r"^v(?=\d)", "", distribution.version or "unknown")  # some write v1.0, which pip calls 1.0
    ref = f"pkg:pypi/{key}@{quote(version, safe='.')}"
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": ref,
        "name": metadata["Name"],
        "version": version,
        "purl": ref,
    }
    if summary := metadata.get("Summary"):
        component["description"] = summary
    if licenses := _licenses(metadata):
        component["licenses"] = licenses
    # Requirements of extras are left out: nobody can tell from an installation which extras were asked for.
    required = [need for need in distribution.requires or () if not re.search(r";.*\bextra\b", need)]
    names = {normalized(found[1]) for need in required if (found := _REQUIREMENT.match(need))}
    return Package(ref, component, tuple(sorted(names - {key})))


def _licenses(metadata: Any) -> list[dict[str, Any]]:
    """Returns the licences that a package states: an SPDX expression, else its classifiers, else a short text."""
    if expression := metadata.get("License-Expression"):
        return [{"expression": expression}]
    classifiers = metadata.get_all("Classifier") or ()
    names = sorted({text.removeprefix(_OSI) for text in classifiers if text.startswith(_OSI)})
    if not names and (text := (metadata.get("License") or "").strip()) and "\n" not in text:
        names = [text] if text != "UNKNOWN" and len(text) <= _LONGEST_LICENSE else []
    return [{"license": {"name": name}} for name in names]


def _debian_package(fields: Mapping[str, str], system: str) -> Package:
    name, version, architecture = (fields.get(field, "") for field in ("Package", "Version", "Architecture"))
    ref = f"pkg:deb/{system}/{quote(name)}@{quote(version, safe='.')}?arch={architecture}"
    return Package(
        ref, {"type": "library", "bom-ref": ref, "name": name, "version": version, "purl": ref, "group": system}
    )


def _fields(text: str, separator: str) -> dict[str, str]:
    """Parses lines `NAME separator VALUE` into values by name; continuation lines are left out."""
    pairs = (line.partition(separator) for line in text.splitlines() if separator in line and not line[0].isspace())
    return {name: value.strip() for name, _, value in pairs}
