"""The studies by name, in the order in which they are best read."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from training.studies import (
    approximation,
    clusters,
    depth,
    equivalence,
    initialisation,
    linear,
    perceptron,
    width_depth,
    xor,
)
from training.studies.study import Study

STUDIES: Mapping[str, Study] = MappingProxyType(
    {
        module.STUDY.name: module.STUDY
        for module in (
            perceptron,
            xor,
            equivalence,
            clusters,
            linear,
            approximation,
            depth,
            initialisation,
            width_depth,
        )
    }
)
