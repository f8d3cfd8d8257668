"""The methods: a module each, whose `predict` learns from a problem and answers for its test part."""
