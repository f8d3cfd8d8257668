"""The plan of a search over machines: all that its workers must agree on, stored with the study by the leader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from models.errors import ConfigError
from models.installation import version
from training.config import TrainConfig
from training.data.column_choices import ColumnChoices
from training.datasets import DATASETS
from training.errors import SearchError
from training.metrics import MetricFigure
from training.search.space import SearchSpace
from training.search.trials.strategies import Pruner, Sampler

FORMAT = 1  # of the plan and of the attributes of trials


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The plan of a search.

    Attributes:
        name: name of the model.
        source: built-in dataset, or absolute path of the table as the leader sees it.
        table: arguments of `read_table` besides source, name and settings.
        config: settings of the first trial; the fields that do not vary apply to every trial.
        space: search space.
        metric: metric that ranks the trials.
        sampler: name of the method that chooses the next point.
        pruner: name of the method that ends trials early.
        grid_points: number of points of each range in a grid.
        heartbeat: seconds between two heartbeats of a worker.
        identity: fingerprints of everything that comparable trials share, by name.
        axon: version of Axon that the leader runs.
    """

    name: str
    source: str
    table: Mapping[str, Any]
    config: TrainConfig
    space: SearchSpace
    metric: MetricFigure
    sampler: Sampler
    pruner: Pruner
    grid_points: int
    heartbeat: float
    identity: Mapping[str, str]
    axon: str = field(default_factory=version)

    def to_json(self) -> dict[str, Any]:
        """Converts to JSON types."""
        table = {name: value for name, value in self.table.items() if name != "choices"}
        choices = self.table.get("choices") or ColumnChoices()
        return {
            "format": FORMAT,
            "axon": self.axon,
            "name": self.name,
            "source": self.source,
            "table": table | {"choices": asdict(choices)},
            "config": self.config.to_dict(),
            "space": self.space.to_json(),
            "metric": self.metric,
            "sampler": self.sampler,
            "pruner": self.pruner,
            "grid_points": self.grid_points,
            "heartbeat": self.heartbeat,
            "identity": dict(self.identity),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Plan:
        """Returns the plan that `to_json` stored.

        Raises:
            SearchError: another release of Axon, whose trials cannot be compared, stored the plan.
        """
        theirs, ours = str(stored.get("axon")), version()
        if stored.get("format") != FORMAT or _release(theirs) != _release(ours):
            raise SearchError(
                f"the search was begun by Axon {theirs}, and this is Axon {ours}, whose trials may come out otherwise: "
                f"install Axon {theirs} on this machine."
            )
        try:
            kept = {name: stored[name] for name in cls.__dataclass_fields__}
            table = dict(kept.pop("table"))
            split = kept["config"]["split"]
            config = kept.pop("config") | {"split": None if split is None else tuple(split)}
            return cls(
                table=table | {"choices": ColumnChoices(**table["choices"])},
                config=TrainConfig(**config),
                space=SearchSpace.from_json(kept.pop("space")),
                **kept,
            )
        except (KeyError, TypeError) as error:
            raise SearchError(f"the plan of the search is damaged: {error}.") from error


def shared_source(source: str) -> str:
    """Returns a source in a form for other machines: a built-in dataset, or an absolute path."""
    return source if source in DATASETS else str(Path(source).absolute())


def check_identity(plan: Plan, identity: Mapping[str, str], source: str) -> None:
    """Refuses a table with which trials could not be compared.

    Raises:
        ConfigError: a fingerprint differs from the plan's.
    """
    for name, value in plan.identity.items():
        if identity.get(name) != value:
            raise ConfigError(
                f"{source} gives another {name} here than on the machine that began the search, so trials could not be "
                "compared: give the same data, or begin another search (--study NAME)."
            )


def _release(version_text: str) -> tuple[str, ...]:
    """Returns major and minor number of a version; patches do not change trials."""
    return tuple(version_text.partition("+")[0].split(".")[:2])
