"""Opening a store by what a user writes: the path of a folder, or the URL of a bucket."""

from __future__ import annotations

from pathlib import Path

from models.bucket.address import url_of
from models.errors import StoreError
from models.installation import missing_part
from models.model_store import ModelStore
from models.signatures.trust import Trust
from models.store import Store


def open_store(
    place: ModelStore | Path | str,
    *,
    follow_seconds: float | None = None,
    cache: Path | None = None,
    cache_bytes: int | None = None,
    trust: Trust | None = None,
) -> ModelStore:
    """Returns the store of a path or a URL; an open store is returned unchanged. Nothing is read yet.

    Args:
        place: folder of models, URL such as `s3://BUCKET/PREFIX`, or open store.
        follow_seconds: time between two listings of a bucket, for a server; None to list at each reading.
        cache: folder for what is brought from a bucket; AXON_STORE_CACHE, else the user's folder of caches, if None.
        cache_bytes: largest number of bytes of checkpoints in it; AXON_STORE_CACHE_BYTES, else 10 GiB, if None.
        trust: trust that decides which versions are read; None to read all. An open store keeps its own.

    Raises:
        StoreError: The URL is not valid, its extra is not installed, or there is no folder for its cache.
    """
    if isinstance(place, ModelStore):
        return place
    if (url := url_of(place)) is None:
        return Store(place, trust=trust)
    try:
        from models.bucket.bucket_store import BucketStore  # imports obstore, which a folder does not need
    except ModuleNotFoundError as missing:
        if (sentence := missing_part("bucket", missing)) is None:
            raise
        raise StoreError(sentence) from None
    return BucketStore.open(url, follow_seconds, cache, cache_bytes, trust)
