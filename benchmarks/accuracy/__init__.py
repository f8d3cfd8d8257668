"""The accuracy benchmark: Axon's recipes beside linear models, scikit-learn's, and RealMLP-TD, on real tables."""
