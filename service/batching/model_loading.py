"""Loading and unloading models by request."""

from __future__ import annotations

import asyncio

from models.errors import ModelNotFound
from service.batching.catalog import Catalog
from service.batching.served_version import ServedVersion
from service.batching.unloaded import UnloadedModels


class ModelLoading:
    """Loads and unloads models of an API process by request. The other API processes follow at their next refresh.

    Args:
        catalog: model versions that the process serves.
        unloaded: models that were unloaded by request.
    """

    def __init__(self, catalog: Catalog, unloaded: UnloadedModels) -> None:
        self._catalog = catalog
        self._unloaded = unloaded

    async def unload(self, name: str) -> None:
        """Unloads a model of the store.

        Raises:
            ModelNotFound: the store has no such model.
        """
        if not self._catalog.has(name):
            raise ModelNotFound(f"there is no model {name!r}.")
        await asyncio.to_thread(self._unloaded.add, name)
        await self._catalog.refresh()

    async def load(self, name: str) -> ServedVersion:
        """Takes in the store, and loads a model that was unloaded.

        Raises:
            InvalidName, ModelNotFound: the store has no such model.
            ModelUnavailable: the model cannot be loaded.
        """
        if self._catalog.has(name):
            await asyncio.to_thread(self._unloaded.remove, name)
        await self._catalog.refresh(fresh=True)
        return await self._catalog.find(name)
