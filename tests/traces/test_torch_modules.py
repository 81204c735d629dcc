"""Names without wrappers, modes and computed weights of PyTorch modules (PyTorch needed)."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

import torch
from torch.nn.utils import prune as untyped_prune

from traces.torch_modules import computed_tensors, evaluating, named_parts, named_tensors, training, unwrapped

prune: Any = untyped_prune


def network() -> Any:
    return torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.BatchNorm1d(6), torch.nn.Linear(6, 2))


def test_wrappers_have_no_part_in_names_at_any_depth() -> None:
    inner = network()
    plain = [name for name, _ in inner.named_parameters()]
    compiled = torch.compile(inner)
    for wrapped in (torch.nn.DataParallel(inner), compiled, torch.optim.swa_utils.AveragedModel(inner)):
        twice: Any = torch.nn.DataParallel(wrapped)
        assert type(unwrapped(twice)) is torch.nn.Sequential
        assert [name for name in named_tensors(twice) if "running" not in name and "num" not in name] == plain
    within = torch.nn.ModuleDict({"body": torch.nn.DataParallel(inner), "module": torch.nn.Linear(2, 2)})
    assert list(named_tensors(within))[:2] == ["body.0.weight", "body.0.bias"]
    assert "module.weight" in named_tensors(within)  # an own name, not that of a wrapper


def test_a_part_with_two_names_is_yielded_once_or_under_both() -> None:
    linear = torch.nn.Linear(2, 2)
    module = torch.nn.ModuleList([linear, linear])
    assert [name for name, _ in named_parts(module)] == ["", "0"]
    assert [name for name, _ in named_parts(module, every_name=True)] == ["", "0", "1"]


def test_buffers_that_are_not_kept_are_left_out_or_named() -> None:
    module = torch.nn.Linear(2, 2)
    module.register_buffer("kept", torch.zeros(1))
    module.register_buffer("dropped", torch.zeros(1), persistent=False)
    assert list(named_tensors(module)) == ["weight", "bias", "kept"]
    assert list(named_tensors(module, kept=False)) == ["weight", "bias", "kept", "dropped"]


def test_the_mode_of_each_part_comes_back_also_after_an_error() -> None:
    module = network().train()
    module[1].eval()
    modes = [part.training for part in module.modules()]
    with evaluating(module):
        assert not any(part.training for part in module.modules())
    assert [part.training for part in module.modules()] == modes
    with training(module):
        assert [part.training for part in module.modules()] == modes  # frozen normalisation stays frozen
    with pytest.raises(ZeroDivisionError), evaluating(module):
        raise ZeroDivisionError
    assert [part.training for part in module.modules()] == modes
    module.eval()
    with training(module):
        assert all(part.training for part in module.modules())
    assert not any(part.training for part in module.modules())


@pytest.mark.parametrize(
    ("change", "way"),
    [
        (lambda layer: torch.nn.utils.parametrizations.weight_norm(layer), "WeightNorm"),
        (lambda layer: torch.nn.utils.parametrizations.spectral_norm(layer), "SpectralNorm"),
        (lambda layer: torch.nn.utils.spectral_norm(layer), "spectral_norm"),
        (lambda layer: prune.l1_unstructured(layer, "weight", 0.5), "prune"),
    ],
)
def test_a_computed_weight_is_named_with_what_computes_it(change: Any, way: str) -> None:
    layer = torch.nn.Linear(4, 4)
    assert computed_tensors(layer) == {}
    change(layer)
    assert computed_tensors(layer) == {"weight": way}


def test_the_last_registered_computation_comes_first() -> None:
    layer = torch.nn.Linear(4, 4)
    with pytest.warns(FutureWarning):
        torch.nn.utils.weight_norm(layer)
    prune.l1_unstructured(layer, "weight_v", 0.5)
    assert list(computed_tensors(layer).items()) == [("weight_v", "prune"), ("weight", "weight_norm")]
