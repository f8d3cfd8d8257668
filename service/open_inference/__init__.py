"""The Open Inference Protocol (version 2) without a transport: tensors, requests, answers and descriptions of models.

HTTP and gRPC carry the same protocol, so both doors use this package.
"""
