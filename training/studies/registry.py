"""All studies by name, in the recommended reading order."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from training.studies import (
    approximation,
    clusters,
    composition,
    depth,
    equivalence,
    graph,
    initialisation,
    linear,
    neuron,
    parameters,
    perceptron,
    universal,
    width_depth,
    xor,
)
from training.studies.study import Study

STUDIES: Mapping[str, Study] = MappingProxyType(
    {
        module.STUDY.name: module.STUDY
        for module in (
            neuron,
            perceptron,
            xor,
            graph,
            equivalence,
            parameters,
            clusters,
            linear,
            approximation,
            universal,
            depth,
            composition,
            initialisation,
            width_depth,
        )
    }
)
