"""Signatures of model versions in the format of OpenSSF Model Signing 1.0: keys, bundles, statements, and trust."""
