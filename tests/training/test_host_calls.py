"""The functions that NumPy or torch computes are those of float64, with one thread and with two."""

import numpy as np
import pytest
import torch

from training.engines.network import host_calls
from training.engines.network.host_calls import cos, exp_, expm1_, sin_, small_products, tanh

X = np.concatenate([np.linspace(-20, 20, 401), [0.0, -1e-6, 1e-6]]).astype(np.float32)


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("has_fast_expm1", [False, True])
def test_they_are_the_functions_of_their_names(threads, has_fast_expm1, monkeypatch):
    monkeypatch.setattr(host_calls, "_HAS_FAST_EXPM1", has_fast_expm1)
    close = {"rtol": 1e-5, "atol": 1e-6}
    x, wide = torch.from_numpy(X), X.astype(np.float64)
    for call, function in ((exp_, np.exp), (expm1_, np.expm1), (sin_, np.sin)):
        changed = x.clone()
        assert call(changed) is changed
        np.testing.assert_allclose(changed.numpy(), function(wide), **close)
    for call, function in ((cos, np.cos), (tanh, np.tanh)):
        out = torch.empty_like(x)
        assert call(x, out) is out
        np.testing.assert_allclose(out.numpy(), function(wide), **close)


def test_small_products_are_einsums(threads):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 2, 7)), rng.normal(size=(5, 3, 7))
    product = small_products(torch.from_numpy(a), torch.from_numpy(b).transpose(1, 2))
    np.testing.assert_allclose(product.numpy(), np.einsum("nij,nkj->nik", a, b), rtol=1e-12)
