"""The accuracy benchmark: Axon's recipes, linear models, scikit-learn's models and RealMLP-TD on real tables."""
