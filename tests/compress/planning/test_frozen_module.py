"""Frozen copies of modules compute what the modules compute, and leave them as they are (PyTorch needed)."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

import torch
from torch.nn import functional

from compress.planning import frozen_module
from compress.planning.frozen_module import freeze
from compress.planning.losses import Loss
from compress.planning.outputs import call, run_outputs
from traces import InputError, Inputs
from traces.arrays import Floats, Floats32

MANY, FEW = 300, 2
IMAGES = np.random.default_rng(0).normal(size=(MANY, 3, 12, 12)).astype(np.float32)
TOKENS = np.random.default_rng(1).integers(0, 20, (MANY, 9))
STEPS = np.random.default_rng(2).normal(size=(MANY, 9, 8)).astype(np.float32)


class Residual(torch.nn.Module):
    """Convolutions with batch normalisation of all kinds, and a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.normalised = torch.nn.BatchNorm2d(8)
        self.block = torch.nn.Sequential(
            torch.nn.Conv2d(8, 8, 3, padding=1, groups=4),
            torch.nn.BatchNorm2d(8, affine=False, eps=0.1),
            torch.nn.ReLU(),
            torch.nn.Conv2d(8, 8, 1),
            torch.nn.GroupNorm(2, 8),
        )
        self.last = torch.nn.Linear(8, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = functional.relu(self.normalised(self.first(images)))
        hidden = functional.max_pool2d(functional.relu(hidden + self.block(hidden)), 2)
        return self.last(hidden.mean((2, 3)))  # type: ignore[no-any-return]


class Twice(torch.nn.Module):
    """Convolutions with normalisation of which the results, the calls or the weights are used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (torch.nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
        self.of_a, self.of_b, self.of_c = (torch.nn.BatchNorm2d(3) for _ in range(3))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        hidden = self.a(images)
        again = self.of_b(self.b(torch.tanh(self.b(images))))
        return self.of_a(hidden) + hidden, again, self.of_c(self.c(images)) * self.c.weight.sum()


class Views(torch.nn.Module):
    """Convolution with normalisation whose output is viewed as vectors, which channels in the last place forbid."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.normalised = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)
        self.last = torch.nn.Linear(400, 6)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(self.normalised(self.first(images)))
        return self.last(hidden.view(hidden.shape[0], -1))  # type: ignore[no-any-return]


class Branches(torch.nn.Module):
    """Convolution with normalisation whose way depends on the values, so that its calls cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.normalised = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)

    def forward(self, images: torch.Tensor) -> dict[str, Any]:
        hidden = self.first(images)
        if hidden.sum() < 1e9:
            hidden = self.normalised(hidden)
        return {"maps": hidden, "nested": [hidden.mean((2, 3)), None, hidden.flatten(1).argmax(1)]}


class Words(torch.nn.Module):
    """Convolution of embedded tokens, given as integers by name."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(20, 6)
        self.first, self.normalised = torch.nn.Conv1d(6, 8, 3), torch.nn.BatchNorm1d(8)

    def forward(self, *, tokens: torch.Tensor) -> torch.Tensor:
        return self.normalised(self.first(self.table(tokens).transpose(1, 2))).amax(2)  # type: ignore[no-any-return]


class Recurrent(torch.nn.Module):
    """LSTM, and the scores of its last step."""

    def __init__(self) -> None:
        super().__init__()
        self.steps, self.last = torch.nn.LSTM(8, 16, batch_first=True), torch.nn.Linear(16, 3)

    def forward(self, steps: torch.Tensor) -> torch.Tensor:
        return self.last(self.steps(steps)[0][:, -1])  # type: ignore[no-any-return]


class Remembers(torch.nn.Module):
    """Convolution that computes something else after its first batch."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.calls = torch.nn.Conv2d(3, 4, 3), 0
        self.register_buffer("sums", torch.zeros(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.get_buffer("sums").add_(1)
        return self.first(images) * self.calls + self.sums  # type: ignore[no-any-return]


class Random(torch.nn.Module):
    """Convolution with noise."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 4, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.first(images + torch.randn_like(images))  # type: ignore[no-any-return]


class TellsLayouts(torch.nn.Module):
    """Convolution whose outputs depend on the order of its weights in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 4, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.first(images) * (2 if self.first.weight.is_contiguous() else 1)  # type: ignore[no-any-return]


def made(kind: type[torch.nn.Module]) -> torch.nn.Module:
    """Return a module in evaluation mode whose normalisations have seen inputs."""
    torch.manual_seed(0)
    module = kind()
    for part in module.modules():
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
            for values, low, high in ((part.running_mean, -1, 1), (part.running_var, 0.3, 3), (part.weight, -2, 2)):
                if values is not None:
                    torch.nn.init.uniform_(values, low, high)
            if part.bias is not None:
                torch.nn.init.uniform_(part.bias)
    return module.eval()


def transformer() -> torch.nn.Module:
    """Return a block of a transformer."""
    return torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)


def plainly(module: torch.nn.Module, inputs: Inputs) -> dict[str, Floats]:
    """Return the outputs of the module itself, 125 inputs at once."""
    with torch.no_grad():
        parts = [call(module, inputs[begin : begin + 125], torch.float32) for begin in range(0, len(inputs), 125)]
    return {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}


def frozen(module: torch.nn.Module, inputs: Inputs, batch: int = 125) -> tuple[torch.nn.Module, int]:
    """Return what `freeze` returns for these inputs."""
    return freeze(module, lambda copied: call(copied, inputs[:FEW], torch.float32), FEW, batch)


def normalisations(module: torch.nn.Module) -> int:
    """Return the number of batch normalisations of a module."""
    return sum(isinstance(part, torch.nn.modules.batchnorm._BatchNorm) for part in module.modules())


def are_last(module: torch.nn.Module) -> bool:
    """Return True if the channels of the first convolution's weight come last in memory."""
    weight = next(part.weight for part in module.modules() if isinstance(part, torch.nn.Conv2d))
    return weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()


@pytest.mark.parametrize(
    ("kind", "inputs", "left"),
    [
        (Residual, IMAGES, 0),
        (Twice, IMAGES, 3),
        (Views, IMAGES, 0),
        (Branches, IMAGES, 1),
        (Words, {"tokens": TOKENS}, 0),
        (Recurrent, STEPS, 0),
        (transformer, STEPS, 0),
    ],
)
def test_outputs_are_the_same_up_to_rounding(kind: Any, inputs: Any, left: int) -> None:
    module, inputs = made(kind), Inputs.of(inputs)
    faster, _ = frozen(module, inputs)
    assert normalisations(faster) == left
    assert (faster is module) == (kind in (Recurrent, transformer))
    expected, found = plainly(module, inputs), run_outputs(module, inputs)
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_allclose(found[name], values, rtol=0, atol=2e-6 * np.abs(values).max())


@pytest.mark.parametrize(
    ("pool", "side_by_side"),
    [
        (torch.nn.MaxPool2d(2), True),
        (torch.nn.MaxPool2d((3, 2)), True),
        (torch.nn.MaxPool2d((1, 5), (1, 5)), True),
        (torch.nn.MaxPool2d(3, 2), False),
        (torch.nn.MaxPool2d(2, 3), False),
        (torch.nn.MaxPool2d(2, padding=1), False),
        (torch.nn.MaxPool2d(2, dilation=2), False),
        (torch.nn.MaxPool2d(2, ceil_mode=True), False),
    ],
)
def test_maxima_of_windows_are_equal_bit_for_bit(pool: torch.nn.MaxPool2d, side_by_side: bool) -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 2), pool).eval()
    inputs = Inputs.of(IMAGES)
    faster, _ = frozen(module, inputs)
    assert (type(faster.get_submodule("1")) is not torch.nn.MaxPool2d) == side_by_side
    hidden = torch.from_numpy(IMAGES[:4]).to(memory_format=torch.channels_last)
    hidden[0, 0, 3, 4] = torch.nan
    for size in (12, 11):
        part = hidden[:, :, :size, :size]
        np.testing.assert_array_equal(faster.get_submodule("1")(part), pool(part))


def test_losses_of_outputs_are_the_same_to_a_millionth() -> None:
    module, inputs = made(Residual), Inputs.of(IMAGES)
    other = copy.deepcopy(module)
    with torch.no_grad():
        for values in other.parameters():
            values.add_(0.3 * torch.randn_like(values))
    for name in ("answers", "kl", "relative-error"):
        loss = Loss.of(name, False)
        plain, fast = (
            loss.mean(loss.read(run(module, inputs)), loss.read(run(other, inputs))) for run in (plainly, run_outputs)
        )
        assert plain > 0
        assert fast == pytest.approx(plain, rel=1e-6)


def test_channels_come_last_where_the_module_runs_like_that() -> None:
    for kind, last in ((Residual, True), (Twice, True), (Branches, True), (Views, False)):
        assert are_last(frozen(made(kind), Inputs.of(IMAGES))[0]) == last
    module = made(TellsLayouts)
    assert frozen(module, Inputs.of(IMAGES)) == (module, 125)  # the copy computes something else


@pytest.mark.parametrize("kind", [Residual, Views, Words, Remembers])
def test_a_run_leaves_the_module_as_it_is(kind: Any) -> None:
    module, inputs = made(kind), Inputs.of({"tokens": TOKENS} if kind is Words else IMAGES)
    next(module.parameters()).requires_grad_(False)
    before = copy.deepcopy(module)
    ids = [id(each) for each in (*module.modules(), *module.parameters(), *module.buffers())]
    run_outputs(module, inputs)
    assert [id(each) for each in (*module.modules(), *module.parameters(), *module.buffers())] == ids
    assert str(module) == str(before)
    assert not any(part.training or part._forward_hooks for part in module.modules())
    for (name, values), (_, original) in zip(module.named_parameters(), before.named_parameters(), strict=True):
        assert (values.stride(), values.requires_grad) == (original.stride(), original.requires_grad), name
        assert torch.equal(values, original)
        assert values.grad is None
    assert all(torch.equal(*each) for each in zip(module.buffers(), before.buffers(), strict=True))


def test_the_run_begins_with_the_state_of_the_module() -> None:
    module, inputs = made(Remembers), Inputs.of(IMAGES)
    found, expected = run_outputs(module, inputs)["output"], plainly(module, inputs)["output"]
    assert module.calls == 3  # of the plain run
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_modules_that_a_copy_may_not_stand_for_run_themselves() -> None:
    inputs = Inputs.of(IMAGES)
    training, hooked, outer = made(Residual), made(Residual), torch.nn.DataParallel(made(Residual))
    training.get_submodule("block").train()
    seen: list[Any] = []
    hooked.get_submodule("last").register_forward_hook(lambda part, given, output: seen.append(len(output)))
    of_batches = made(Residual)  # whose outputs depend on the other inputs of a batch
    of_batches.normalised = torch.nn.BatchNorm2d(8, track_running_stats=False).eval()
    for module in (training, hooked, of_batches, outer.eval(), torch.jit.script(made(Residual)), made(Random)):
        assert frozen(module, inputs) == (module, 125)
    seen.clear()
    run_outputs(hooked, inputs)
    assert seen == [125, 125, 50]


def test_noise_is_drawn_as_without_a_copy() -> None:
    module, inputs = made(Random), Inputs.of(IMAGES)
    torch.manual_seed(3)
    expected = plainly(module, inputs)["output"]
    torch.manual_seed(3)
    np.testing.assert_array_equal(run_outputs(module, inputs)["output"], expected)


def test_large_feature_maps_take_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    module, inputs = made(Residual), Inputs.of(IMAGES)
    map_bytes = 4 * 8 * 12 * 12
    for limit, batch in ((1000 * map_bytes, 125), (50 * map_bytes, 50), (map_bytes, 8)):
        monkeypatch.setattr(frozen_module, "_MAP_BYTES", limit)
        assert frozen(module, inputs)[1] == batch
    assert frozen(module, inputs, batch=3)[1] == 3


def test_errors_are_those_of_the_module() -> None:
    wrong: Floats32 = IMAGES[:, :2]
    with pytest.raises(InputError, match=r"must take the inputs .*expected input\[125, 2, 12, 12\]"):
        run_outputs(made(Residual), wrong)
