"""The reading of an ONNX graph as an MLP: each tensor is followed as a function of a row, operator by operator."""
