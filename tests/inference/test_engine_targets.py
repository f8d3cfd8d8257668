"""A network of several targets keeps each within its own range, with the same bits in any batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ensembles import ensemble
from serving import SEVERAL, numeric

from inference.device_network import DeviceNetwork
from models.columns.schema import Schema

DEVICES = [
    torch.device("cpu"),
    pytest.param(
        torch.device("cuda"), marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"), id="cuda"
    ),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("members", [1, 3])
def test_each_target_keeps_its_range(device: torch.device, members: int) -> None:
    schema = Schema(columns=(numeric("x"), numeric("z")), target=SEVERAL)
    checkpoint = ensemble(schema, members, 8, clamp=True)
    network = checkpoint.inference_network()
    on_device = DeviceNetwork(network, device, max_batch_rows=64)
    on_device.warm_up()
    assert on_device.batch_invariant
    rows = np.random.default_rng(0).normal(0, 900, (200, 2)).astype(np.float32)
    answers = on_device.forward(rows)
    targets = SEVERAL.targets
    spread = np.array([one.std for one in targets])
    np.testing.assert_allclose(answers / spread, network.forward(rows) / spread, rtol=1e-4, atol=1e-3)
    for place, target in enumerate(targets):
        assert target.minimum is not None
        assert target.maximum is not None
        low, high = (np.float32(bound - target.origin) for bound in (target.minimum, target.maximum))
        assert (answers[:, place].min(), answers[:, place].max()) == (low, high)
    for at in range(0, 200, 7):
        np.testing.assert_array_equal(on_device.forward(rows[at : at + 5]), answers[at : at + 5])
