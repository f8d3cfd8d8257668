"""The members of an ensemble that remain after others diverged, and the notes on those that diverged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from training.engines.engine import Trained


def without_diverged(trained: Trained) -> Trained:
    """Returns a result of the engine without the members that diverged, and with a sentence for the user as verdict.

    Args:
        trained: result of the engine, of equal members, of which at least one has not diverged.
    """
    if not trained.diverged:
        return trained
    members = trained.architecture.members
    kept = [member for member in range(members) if member not in trained.diverged]
    index = kept if len(kept) > 1 else kept[0]  # the tensors of a single network have no dimension of members
    names = {f"member {member + 1}": epoch for member, epoch in sorted(trained.diverged.items())}
    return replace(
        trained,
        architecture=replace(trained.architecture, members=len(kept)),
        tensors={name: tensor[index] for name, tensor in trained.tensors.items()},
        verdict=diverged_sentence(names, of=f"{members} members", whole=f"the ensemble, which has {len(kept)}"),
        diverged={},
    )


def diverged_sentence(diverged: Mapping[str, int], *, of: str, whole: str) -> str:
    """Returns a sentence for the user on the members that diverged in a run and were left out.

    Args:
        diverged: epoch in which each of them diverged, by name; not empty.
        of: number and kind of all of them, such as `8 members`.
        whole: name of what they were left out of.
    """
    epochs = ", ".join(f"{name} in epoch {epoch}" for name, epoch in diverged.items())
    was = "was" if len(diverged) == 1 else "were"
    return (
        f"{len(diverged)} of {of} diverged ({epochs}) and {was} left out of {whole}: try a smaller learning rate "
        "(--learning-rate)."
    )
