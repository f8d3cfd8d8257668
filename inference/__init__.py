"""Inference: rows to answers on one device, batch-invariant: a row gets the same bits in any batch.

Needs torch, and knows nothing of the service.
"""
