"""Loading a published model from a store, for predictions in this process."""

from __future__ import annotations

from pathlib import Path

from axon.model import Model, default_store
from models.signing import trusted
from models.store import Store


def load(reference: str, store: Store | Path | str | None = None) -> Model:
    """Loads a published model. With AXON_TRUSTED_KEYS, its signature is verified.

    Args:
        reference: `name`, `name@version` or `name@alias`.
        store: store or path of its folder; AXON_STORE, else `checkpoints`, if None.

    Raises:
        InvalidName: the reference is not well formed.
        ModelNotFound: the store has no such model.
        StoreError, CheckpointError: the model cannot be read.
        SignatureError: the model is not signed by a key that AXON_TRUSTED_KEYS names.
    """
    opened = store_of(store)
    version = trusted(opened.resolve(reference))
    return Model(version.load().checkpoint, reference=str(version), path=version.path)


def store_of(store: Store | Path | str | None) -> Store:
    """Returns the store of a folder.

    Args:
        store: store or path of its folder; AXON_STORE, else `checkpoints`, if None.
    """
    if isinstance(store, Store):
        return store
    return Store(default_store() if store is None else store)
