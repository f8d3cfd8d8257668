"""Loading: a published model out of a store, to ask it in this process."""

from __future__ import annotations

from pathlib import Path

from axon.model import Model, default_store
from models.store import Store


def load(reference: str, store: Store | Path | str | None = None) -> Model:
    """Loads a model that was published.

    Args:
        reference: `name`, `name@version` or `name@alias`.
        store: the store or its folder; AXON_STORE, else `checkpoints`, if None.

    Raises:
        InvalidName, ModelNotFound, StoreError, CheckpointError: no such model, or it cannot be read.
    """
    opened = store_of(store)
    version = opened.resolve(reference)
    return Model(version.load().checkpoint, reference=str(version), path=version.path)


def store_of(store: Store | Path | str | None) -> Store:
    """Returns the store that is meant.

    Args:
        store: the store or its folder; AXON_STORE, else `checkpoints`, if None.
    """
    if isinstance(store, Store):
        return store
    return Store(default_store() if store is None else store)
