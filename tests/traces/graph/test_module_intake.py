"""Modules as graphs: what they compute, their parameters' names, and what cannot be traced."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sim import ArrayConfig, simulate_network
from tests.traces.graph.graphs import close, compressed, drawn
from traces import InputError, Network
from traces.graph.layers import whole_session

torch = pytest.importorskip("torch")
prune = pytest.importorskip("torch.nn.utils.prune")
pytest.importorskip("onnxscript")
nn = torch.nn
ARRAY = ArrayConfig(num_pes=2, weight_bits=8)


def tensor(seed: int, *shape: int) -> Any:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


class Wired(nn.Module):  # type: ignore[misc,name-defined]
    """Module whose forward pass is a function of its parts and its inputs."""

    def __init__(self, forward: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.wiring = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Run the function."""
        return self.wiring(self, *inputs, **named)


def simple(module: Any) -> Any:
    """Give every weight of a module few values."""
    with torch.no_grad():
        for number, (_, parameter) in enumerate(sorted(module.named_parameters())):
            if parameter.ndim > 1:
                parameter.copy_(torch.from_numpy(drawn(number, *parameter.shape) / 2))
    return module.eval()


def steps_of_a_cell(self: Any, x: Any) -> Any:
    state = x.new_zeros(x.shape[0], 3)
    for step in range(x.shape[1]):
        state = self.cell(x[:, step], state)
    return state


def residual(self: Any, x: Any) -> Any:
    entering = torch.relu(self.norm(self.first(x)))
    return torch.nn.functional.avg_pool2d(entering + self.second(entering), 2).mean(dim=(2, 3))


#: Modules, their inputs, and the parameters of their layers with the vectors of one input.
MODULES: dict[str, tuple[Callable[[], Any], Any, dict[str, float]]] = {
    "residual": (
        lambda: Wired(
            residual,
            first=nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular"),
            norm=nn.BatchNorm2d(4),
            second=nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False),
        ),
        (tensor(0, 2, 2, 4, 4),),
        {"first.weight": 16, "second.weight": 32},
    ),
    "LSTM, steps first": (
        lambda: Wired(lambda self, x: self.lstm(x)[0], lstm=nn.LSTM(4, 3, bidirectional=True)),
        (tensor(1, 5, 2, 4),),
        {
            "lstm.weight_ih_l0": 10,
            "lstm.weight_hh_l0": 10,
            "lstm.weight_ih_l0_reverse": 10,
            "lstm.weight_hh_l0_reverse": 10,
        },
    ),
    "GRU with its state": (
        lambda: Wired(lambda self, x: self.gru(x), gru=nn.GRU(4, 3, batch_first=True)),
        (tensor(1, 2, 5, 4),),
        {"gru.weight_ih_l0": 10, "gru.weight_hh_l0": 10},  # the last state has the inputs second: all are one,
    ),
    "cell": (
        lambda: Wired(steps_of_a_cell, cell=nn.GRUCell(4, 3)),
        (tensor(2, 2, 3, 4),),
        {"cell.weight_ih": 3, "cell.weight_hh": 3},
    ),
    "tied": (
        lambda: Wired(
            lambda self, x: torch.nn.functional.linear(self.table(x), self.table.weight), table=nn.Embedding(7, 4)
        ),
        (torch.tensor([[1, 6], [0, 3], [2, 2]]),),
        {"table.weight": 2},
    ),
    "attention": (
        lambda: nn.TransformerEncoderLayer(4, 2, 6, dropout=0.1, batch_first=True),
        (tensor(3, 2, 3, 4),),
        {"self_attn.in_proj_weight": 3, "self_attn.out_proj.weight": 3, "linear1.weight": 3, "linear2.weight": 3},
    ),
    "parameter in a product": (
        lambda: Wired(
            lambda self, x: torch.einsum("bhd,hdo->bho", x, self.heads) @ self.last,
            heads=nn.Parameter(torch.zeros(2, 4, 3)),
            last=nn.Parameter(torch.zeros(3, 5)),
        ),
        (tensor(4, 2, 2, 4),),
        {"heads": 2, "last": 2},
    ),
    "transposed": (
        lambda: nn.ConvTranspose2d(4, 2, 3, stride=2, padding=1, output_padding=1, groups=2),
        (tensor(5, 2, 4, 3, 3),),
        {"weight": 18},
    ),
    "outputs by name": (
        lambda: Wired(
            lambda self, x, y: {"sum": self.a(x) + self.b(y), "both": (self.a(y), [self.b(x)])},
            a=nn.Linear(4, 3),
            b=nn.Linear(4, 3, bias=False),
        ),
        {"x": tensor(6, 2, 4), "y": tensor(7, 2, 4)},
        {"a.weight": 2, "b.weight": 2},
    ),
}


@pytest.fixture(scope="module")
def opened() -> dict[str, tuple[Any, Network]]:
    """Return the modules and their networks; each is traced once."""
    made = {}
    for name, (build, inputs, _) in MODULES.items():
        torch.manual_seed(0)
        module = simple(build())
        made[name] = module, Network.open(module, inputs)
    return made


def tensors(outputs: Any) -> list[Any]:
    """Return all tensors of nested outputs, in order."""
    if isinstance(outputs, torch.Tensor):
        return [outputs.detach().numpy()]
    values = outputs.values() if isinstance(outputs, dict) else outputs
    return [each for value in values for each in tensors(value)]


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_simulated_as_pytorch_runs_it(name: str, opened: dict[str, Any]) -> None:
    module, network = opened[name]
    _, inputs, vectors = MODULES[name]
    with torch.no_grad():
        expected = tensors(module(**inputs) if isinstance(inputs, dict) else module(*inputs))
    state = {key: value.detach().numpy() for key, value in module.state_dict().items()}
    found: dict[str, float] = {}
    for layer in network.layers:
        assert layer.weight in state
        np.testing.assert_array_equal(network.parameters[layer.weight], state[layer.weight])
        found[layer.weight] = found.get(layer.weight, 0) + layer.vectors_per_input
    if name == "attention":  # three slices of the joint projection
        found["self_attn.in_proj_weight"] /= 3 if found["self_attn.in_proj_weight"] == 9 else 1
    if name == "cell":  # the first state is zero, whatever the inputs
        assert found["cell.weight_hh"] in (2, 3)
        found["cell.weight_hh"] = 3
    assert found == vectors
    result = simulate_network(compressed(network), inputs, ARRAY)
    outputs = list(result.output.values()) if isinstance(result.output, dict) else [result.output]
    assert len(outputs) == len(expected)
    for output, wanted in zip(outputs, expected, strict=True):
        close(output, wanted, 1e-4)
    assert result.largest_difference < 1e-5
    assert network.module is module


def test_a_module_is_left_as_it_is() -> None:
    module = nn.Sequential(nn.LSTM(4, 3), Wired(lambda self, x: self.norm(x[0]), norm=nn.LayerNorm(3)))
    module.train()
    module[1].eval()
    module[0].weight_ih_l0.requires_grad_(False)
    x = tensor(0, 5, 2, 4)
    state = copy.deepcopy(module.state_dict())
    expected = module(x)
    Network.open(module, x)
    assert [part.training for part in module.modules()] == [True, True, False, False]
    assert not module[0].weight_ih_l0.requires_grad
    assert module[0].weight_hh_l0.requires_grad
    assert module[0].weight_hh_l0.grad is None
    for key, value in module.state_dict().items():
        assert torch.equal(value, state[key])
    assert torch.equal(module(x), expected)  # its flat weights are its own still
    module(x).sum().backward()


@pytest.mark.parametrize("kind", ["data_parallel", "compiled", "weight_norm", "pruned"])
def test_wrapped_and_computed_weights_are_traced(kind: str) -> None:
    module: Any = simple(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
    x = tensor(0, 2, 4)
    if kind == "data_parallel":
        module = nn.DataParallel(module)
    elif kind == "compiled":
        module = torch.compile(module, backend="eager")
    elif kind == "weight_norm":
        torch.nn.utils.parametrizations.weight_norm(module[0])
        module(x)
    else:
        prune.l1_unstructured(module[0], "weight", 0.5)
        module(x)
    network = Network.open(module, x)
    with torch.no_grad():
        expected = module(x).numpy()
    close(network.run(x.numpy())[network.outputs[0]], expected, 1e-5)
    assert [(layer.rows, layer.columns) for layer in network.layers] == [(3, 4), (2, 3)]


def branching(self: Any, x: Any) -> Any:
    if x.sum() > 0:
        return self.fc(x)
    return x


def linear(forward: Callable[..., Any]) -> Callable[[], Any]:
    return lambda: Wired(forward, fc=nn.Linear(4, 3))


X = tensor(0, 2, 4)
REFUSED: dict[str, tuple[Callable[[], Any], Any, str]] = {
    "control flow": (lambda: Wired(branching, fc=nn.Linear(4, 4)), X, r"cannot be traced: .*\(line \d+ of .*intake"),
    "half precision": (lambda: nn.Linear(4, 3).half(), X, "must be float32 on the CPU; found weight of torch.float16"),
    "no inputs": (lambda: nn.Linear(4, 3), None, "a module needs example inputs, from which it is traced"),
    "wrong inputs": (lambda: nn.Linear(5, 3), X, "the module cannot run on these inputs: RuntimeError: "),
    "text": (lambda: nn.Linear(4, 3), np.array(["a"]), "inputs must be arrays of numbers; found <U1"),
    "an object": (linear(lambda self, x, y: self.fc(x)), (X, object()), "must be arrays of numbers; found object"),
    "no tensors": (linear(lambda self, x: float(self.fc(x).sum())), X, "outputs must be tensors; found float"),
    "no module": (lambda: 3, X, "a network must be a torch.nn.Module; found int"),
    "random values": (linear(lambda self, x: self.fc(x) + torch.randn(3)), X, "random values|other outputs"),
    "no rows": (lambda: nn.Linear(4, 3), tensor(0, 0, 4), "at least one"),
    "NaN": (lambda: nn.Linear(4, 3), torch.full((2, 4), torch.nan), "must be finite"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_traced_is_refused(kind: str) -> None:
    build, inputs, sentence = REFUSED[kind]
    with pytest.raises(InputError, match=sentence):
        _ = Network.open(build(), inputs).layers


def test_a_function_is_named_with_its_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_for_intake.py").write_text(
        "import torch\ndef build():\n    return torch.nn.Linear(4, 3), torch.ones(2, 4)\ndef plain():\n"
        "    return torch.nn.Linear(4, 3)\nvalue = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    network = Network.open("mine_for_intake:build")
    assert [(layer.weight, layer.bias) for layer in network.layers] == [("weight", "bias")]
    for name, sentence in (
        ("mine_for_intake:absent", "the module has no absent"),
        ("mine_for_intake:value", "must be a function or a class that is written in Python; found int"),
        ("absent_module:build", "the module cannot be imported"),
        ("absent.onnx", "there is no such file"),
        ("absent", "there is no such file"),
        ("mine_for_intake:plain", "a module needs example inputs"),
    ):
        with pytest.raises(InputError, match=re.escape(sentence)):
            Network.open(name)


class Growing(nn.Module):  # type: ignore[misc,name-defined]
    """Linear layer whose outputs are put behind those of earlier steps."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Any, before: Any) -> dict[str, Any]:
        every = torch.cat([before, self.linear(x)], dim=1)
        return {"sum": every.sum(dim=1), "every": every}


def test_lengths_that_change_keep_their_names_and_outputs_those_of_the_module() -> None:
    module, inputs = Growing(), (tensor(0, 1, 2, 4), tensor(1, 1, 5, 3))
    for given in (inputs, {"x": inputs[0], "before": inputs[1]}):
        network = Network.open(module, given, lengths={"x": {1: "steps"}, "before": {1: "past"}})
        assert network.outputs == ("sum", "every")
        assert [entry.shape for entry in network.inputs] == [(1, None, 4), (1, None, 3)]
        for steps, past in ((1, 0), (1, 1), (3, 7)):
            x, before = tensor(2, 1, steps, 4), tensor(3, 1, past, 3) if past else torch.zeros(1, 0, 3)
            feeds = network.bind({"x": x, "before": before}, ["before"])
            found = whole_session(network).run(feeds)
            for name, wanted in module(x, before).items():
                close(found[name], wanted.detach().numpy())


@pytest.mark.parametrize(
    ("lengths", "sentence"),
    [
        ({"absent": {0: "n"}}, "lengths must name inputs, x, before, and axes of them; found absent: {0: 'n'}"),
        ({"x": {3: "n"}}, "found x: {3: 'n'}"),
        ({"x": {2: "n"}}, "the module cannot be traced"),
    ],
)
def test_lengths_that_cannot_change_are_refused(lengths: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        Network.open(Growing(), (tensor(0, 1, 2, 4), tensor(1, 1, 5, 3)), lengths=lengths)


def test_lengths_are_those_of_a_module() -> None:
    opened = Network.open(nn.Linear(4, 3), tensor(0, 2, 4))
    for source in (opened, opened.to_onnx()):
        with pytest.raises(InputError, match="lengths are those of a module, which is traced; a graph has its own"):
            Network.open(source, lengths={"x": {0: "n"}})
