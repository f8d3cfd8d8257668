"""Importers of models that were made elsewhere: each turns a foreign model into a network and columns of Axon."""
