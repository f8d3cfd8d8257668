"""Inference: rows to answers on one device, the same bits for a row in any batch. Needs torch; knows no service."""
