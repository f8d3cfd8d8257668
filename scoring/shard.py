"""Shards: the share of one machine in a job, by arithmetic on the numbers of the parts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from models.errors import ConfigError


@dataclass(frozen=True)
class Shard:
    """A share of the parts: each part whose number leaves the remainder `index` when divided by `count`.

    Attributes:
        index: number of the shard, from 0.
        count: number of shards.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ConfigError(f"shard {self.index}/{self.count}: the numbers are 0/{self.count} to the one before it.")

    def has(self, part: int) -> bool:
        """Returns True if a part belongs to the shard."""
        return part % self.count == self.index

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def shard_of(text: str | None, environment: Mapping[str, str]) -> Shard:
    """Returns the shard of this process.

    Args:
        text: `i/n`, from 0/n on; None for the one that the environment says, else all parts.
        environment: variables of the process. An Indexed Job of Kubernetes sets JOB_COMPLETION_INDEX, and its manifest
            has to add JOB_COMPLETIONS; Slurm sets all variables of an array job.

    Raises:
        ConfigError: the shard is not well formed.
    """
    if text is not None:
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        if found is None:
            raise ConfigError(f"--shard {text!r}: give it as i/n, such as 0/8 for the first of eight.")
        return Shard(int(found[1]), int(found[2]))
    if "JOB_COMPLETION_INDEX" in environment:
        if "JOB_COMPLETIONS" not in environment:
            raise ConfigError(
                "JOB_COMPLETION_INDEX says which shard this is, but not of how many: set JOB_COMPLETIONS to the "
                "completions of the Job, or give --shard i/n (0/1 for all parts)."
            )
        return Shard(_number(environment, "JOB_COMPLETION_INDEX"), _number(environment, "JOB_COMPLETIONS"))
    if "SLURM_ARRAY_TASK_ID" in environment:
        first = _number(environment, "SLURM_ARRAY_TASK_MIN", 0)
        step = max(_number(environment, "SLURM_ARRAY_TASK_STEP", 1), 1)
        count = _number(environment, "SLURM_ARRAY_TASK_COUNT")
        return Shard((_number(environment, "SLURM_ARRAY_TASK_ID") - first) // step, count)
    return Shard()


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environment.get(name, "" if default is None else str(default))
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ConfigError(f"{name} is {text!r}, where a whole number is expected: give --shard i/n.")
    return int(text)
