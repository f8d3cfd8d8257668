"""The bill of materials as a document of CycloneDX 1.6.

The same installation, models and time give the same bytes: everything is sorted, and the serial number is computed from
the content. Source: cyclonedx.org/docs/1.6/json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from axon.sbom.packages import Package, normalized

_SPECIFICATION = "http://cyclonedx.org/schema/bom-1.6.schema.json"
_ROOT = "axon"


def bill_of_materials(
    packages: Mapping[str, Package],
    others: Sequence[Package],
    models: Sequence[Mapping[str, Any]],
    *,
    version: str,
    seconds: int,
) -> str:
    """Returns the document as JSON text.

    Args:
        packages: installed packages by normalized name; Axon among them, or not, if it runs from a source tree.
        others: components that belong to no package, such as Python.
        models: components of models.
        version: version of Axon.
        seconds: time of the document, in seconds since 1970.
    """
    main = packages.get(normalized(_ROOT))
    ref = f"pkg:pypi/{_ROOT}@{version}" if main is None else main.ref
    root = {"type": "application", "bom-ref": ref, "name": _ROOT, "version": version, "purl": ref}
    if main is not None:
        root |= {name: main.component[name] for name in ("description", "licenses") if name in main.component}
    libraries = [package for package in packages.values() if package is not main]
    components = [dict(package.component) for package in (*libraries, *others)] + [dict(model) for model in models]
    edges = {package.ref: _required(package, packages) for package in libraries}
    direct = [one["bom-ref"] for one in components]
    content = {
        "metadata": {
            "timestamp": datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z"),
            "tools": {"components": [{"type": "application", "name": f"{_ROOT} sbom", "version": version}]},
            "component": root,
        },
        "components": sorted(components, key=lambda one: str(one["bom-ref"])),
        "dependencies": [
            {"ref": ref, "dependsOn": sorted(set(direct))},
            *({"ref": at, "dependsOn": to} for at, to in sorted(edges.items()) if to),
        ],
    }
    serial = uuid5(NAMESPACE_URL, json.dumps(content, sort_keys=True))
    head = {
        "$schema": _SPECIFICATION,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
    }
    return json.dumps(head | content, indent=1, ensure_ascii=False) + "\n"


def _required(package: Package, packages: Mapping[str, Package]) -> list[str]:
    """Returns the references of the installed packages that a package requires, sorted."""
    return sorted({packages[name].ref for name in package.requires if name in packages})
