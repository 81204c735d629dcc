"""Loading into modules: wrapped ones, tied weights, infinite buffers, extra state, and refusals that change nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from compress import CompressedModel
from traces import CompressedLayer, InputError
from traces.arrangement import Arrangement

torch = pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

CODES = np.arange(24, dtype=np.uint8).reshape(4, 6) % 4
CODEBOOK = np.array([0, 0.5, -1, 2], dtype=np.float32)
WEIGHT = CODEBOOK[CODES]


def model_of(prefix: str = "", **given: Any) -> CompressedModel:
    layer = CompressedLayer("fc", CODES, CODEBOOK)
    tensors = {f"{prefix}fc.bias": np.arange(4.0)}
    model = CompressedModel([layer], weight_names=[[f"{prefix}fc.weight"]], tensors=tensors, **given)
    return CompressedModel.from_bytes(model.to_bytes())


def network(**parts: Any) -> Any:
    return torch.nn.ModuleDict({"fc": torch.nn.Linear(6, 4), **parts})


def compiled_parallel(plain: Any) -> Any:
    return torch.compile(torch.nn.DataParallel(plain))


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("wrap", [torch.nn.ModuleDict, torch.nn.DataParallel, torch.compile, compiled_parallel])
def test_names_of_wrappers_do_not_count(prefix: str, wrap: Any) -> None:
    plain = network()
    model_of(prefix).load_into(wrap(plain))
    np.testing.assert_array_equal(plain["fc"].weight.detach(), WEIGHT)
    np.testing.assert_array_equal(plain["fc"].bias.detach(), np.arange(4))


def test_a_compiled_part_and_a_part_named_module_are_loaded() -> None:
    layer = torch.nn.Linear(6, 4)
    model_of().load_into(torch.nn.ModuleDict({"fc": torch.compile(layer)}))
    np.testing.assert_array_equal(layer.weight.detach(), WEIGHT)

    class Both(torch.nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.module = torch.nn.Linear(6, 4), network()

    both = Both()
    before = both.fc.weight.detach().clone()
    with pytest.raises(InputError, match=r"the container holds nothing for the module's fc\.weight, fc\.bias"):
        model_of("module.").load_into(both)
    assert torch.equal(both.fc.weight, before)


def test_a_transposed_weight_is_loaded_in_its_own_order() -> None:
    arranged = CompressedModel(
        [CompressedLayer("fc", CODES, CODEBOOK)], [(6, 4)], arrangements=[Arrangement((6, 4), (1, 0), 1)]
    )
    module = torch.nn.ModuleDict({"fc": torch.nn.Module()})
    module["fc"].weight = torch.nn.Parameter(torch.zeros(6, 4))
    CompressedModel.from_bytes(arranged.to_bytes()).load_into(module)
    np.testing.assert_array_equal(module["fc"].weight.detach(), WEIGHT.T)


@pytest.mark.parametrize(
    "values",
    [
        np.triu(np.full((4, 4), -np.inf, dtype=np.float32), 1),
        np.array([np.nan, 1], dtype=np.float32),
        np.array([0.1, 1e300]),
        np.array([True, False]),
        np.array(5, dtype=np.uint8),
        np.array([-(2**31)], dtype=np.int32),
        np.array([2**63 - 1]),
    ],
    ids=lambda values: str(values.dtype),
)
def test_a_buffer_comes_back_as_it_was(values: Any) -> None:
    again = network()
    again.register_buffer("buffer", torch.zeros(values.shape, dtype=torch.from_numpy(values).dtype))
    model = CompressedModel(
        [CompressedLayer("fc", CODES, CODEBOOK)],
        tensors={"fc.bias": np.zeros(4), "buffer": values},
        buffers=["buffer"],
    )
    found = CompressedModel.from_bytes(model.to_bytes())
    found.load_into(again)
    assert again.buffer.numpy().tobytes() == values.tobytes()
    assert found.state()["buffer"].dtype == values.dtype
    assert "buffer" not in found.decoded_parameters()


def test_a_buffer_that_cannot_hold_the_values_is_refused_before_anything_changes() -> None:
    for values, dtype in ((np.array([1.5, 2]), torch.int64), (np.array([300, 1]), torch.uint8)):
        module = network()
        module.register_buffer("steps", torch.zeros(2, dtype=dtype))
        before = module["fc"].weight.detach().clone()
        model = CompressedModel(
            [CompressedLayer("fc", CODES, CODEBOOK)], tensors={"fc.bias": np.zeros(4), "steps": values}
        )
        with pytest.raises(InputError, match=f"the module's 'steps' is {dtype} and cannot hold the container's"):
            model.load_into(module)
        assert torch.equal(module["fc"].weight, before)


def test_tied_weights_are_loaded_once_and_must_agree() -> None:
    def tied() -> Any:
        module = torch.nn.ModuleDict({"a": torch.nn.Linear(6, 4, bias=False), "b": torch.nn.Linear(6, 4, bias=False)})
        module["b"].weight = module["a"].weight
        return module

    layer = CompressedLayer("a", CODES, CODEBOOK)
    for names in (["a.weight"], ["b.weight"], ["a.weight", "b.weight"]):
        module = tied()
        CompressedModel([layer], weight_names=[names]).load_into(module)
        np.testing.assert_array_equal(module["a"].weight.detach(), WEIGHT)
    other = CompressedLayer("b", CODES[::-1].copy(), CODEBOOK)
    with pytest.raises(
        InputError, match=r"'b\.weight' and 'a\.weight' are one tensor, and the container holds different"
    ):
        CompressedModel([layer, other]).load_into(tied())


def test_a_buffer_under_two_names_is_loaded_by_either() -> None:
    module = network(first=torch.nn.Module(), second=torch.nn.Module())
    module["first"].register_buffer("mask", torch.zeros(2))
    module["second"].register_buffer("mask", module["first"].mask)
    model = CompressedModel(
        [CompressedLayer("fc", CODES, CODEBOOK)], tensors={"fc.bias": np.zeros(4), "second.mask": np.ones(2)}
    )
    model.load_into(module)
    assert module["first"].mask.tolist() == [1, 1]


@pytest.mark.parametrize("state", [{"version": 1}, torch.ones(3)], ids=["object", "tensor"])
def test_extra_state_is_left_as_it_is(state: Any) -> None:
    class WithState(torch.nn.Linear):  # type: ignore[name-defined,misc]
        def get_extra_state(self) -> Any:
            return state

        def set_extra_state(self, _: Any) -> None:
            raise AssertionError

    module = torch.nn.ModuleDict({"fc": WithState(6, 4)})
    model_of().load_into(module)
    np.testing.assert_array_equal(module["fc"].weight.detach(), WEIGHT)


def test_a_module_without_memory_is_refused() -> None:
    with pytest.raises(InputError, match=r"the module's 'fc\.weight' has no memory; call module\.to_empty"):
        model_of().load_into(network().to("meta"))
