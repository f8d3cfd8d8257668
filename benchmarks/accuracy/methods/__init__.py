"""The methods: one module each, with a function `predict` that learns from a problem and predicts its test part."""
