"""Exports: a checkpoint becomes an ONNX file, a torch module or a NumPy program with the server's answers.

Every form is written from the fused network (`models.network.inference_network`) and the schema, so each architecture
is covered, and the preprocessing is part of the file.
"""
