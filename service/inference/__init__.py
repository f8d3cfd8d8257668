"""Rows → answers on one device: the only part of the service that imports torch."""
