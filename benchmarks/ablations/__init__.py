"""Ablations: parts that a recipe could have, on at least ten tables each, beside the recipe without the part."""
