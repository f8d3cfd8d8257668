"""Loading a published model from a store, for predictions in this process."""

from __future__ import annotations

from pathlib import Path

from axon.model import Model, default_store
from models.model_store import ModelStore
from models.open_store import open_store
from models.signing import trusted


def load(reference: str, store: ModelStore | Path | str | None = None) -> Model:
    """Loads a published model. With AXON_TRUSTED_KEYS, its signature is verified.

    Args:
        reference: `name`, `name@version` or `name@alias`.
        store: store, path of its folder, or URL such as `s3://BUCKET/PREFIX`; AXON_STORE, else `checkpoints`, if None.

    Raises:
        InvalidName: the reference is not well formed.
        ModelNotFound: the store has no such model.
        StoreError, CheckpointError: the model cannot be read.
        SignatureError: the model is not signed by a key that AXON_TRUSTED_KEYS names.
    """
    opened = store_of(store)
    version = trusted(opened.resolve(reference))
    return Model(version.load().checkpoint, reference=str(version), published=version)


def store_of(store: ModelStore | Path | str | None) -> ModelStore:
    """Returns the store of a folder or a URL.

    Args:
        store: store, path of its folder, or URL such as `s3://BUCKET/PREFIX`; AXON_STORE, else `checkpoints`, if None.
    """
    return open_store(default_store() if store is None else store)
