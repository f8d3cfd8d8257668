"""The readiness of a model version, for `ready` over HTTP and `ModelReady` over gRPC."""

from __future__ import annotations

from models.errors import InvalidName, ModelNotFound, StoreError
from models.store_entry import Reference
from service.batching.catalog import Catalog


def readiness(catalog: Catalog, id_: str | None) -> bool | None:
    """Returns True if a version is ready, False if only the store holds the version, and None for an unknown version.

    All spellings of a version are equal: the number, an alias, and the name alone where it means the version.

    Args:
        catalog: model versions that are served.
        id_: id of the version; None for the default model.
    """
    if catalog.get_lead(id_) is not None:
        return True
    if id_ is None:
        return None
    try:
        reference = Reference.parse(id_)
        version = catalog.entry(reference.name).resolve(reference)
    except (InvalidName, ModelNotFound):
        return None
    except StoreError:
        return False
    return catalog.is_ready(reference.name, version)
