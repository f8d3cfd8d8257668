"""The device to train on."""

from __future__ import annotations

import torch

from models.errors import ConfigError


def choose_device(asked: str = "auto") -> str:
    """The device's name: `auto` is CUDA where there is one, else the CPU.

    Raises:
        ConfigError: a device that torch does not know or this machine does not have.
    """
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(asked)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # an AssertionError from a torch built without CUDA
        raise ConfigError(f"this machine has no device {asked!r}: use auto, cpu or cuda.") from error
    if device.type not in ("cpu", "cuda"):  # on others the fused optimiser is not known to work
        raise ConfigError(f"training runs on cpu or cuda, not on {asked!r}.")
    return asked
