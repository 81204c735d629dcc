import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from compress.graph_module import GraphModule
from tests.compress.graph_module.twins import assert_same, in_onnx_runtime, in_pytorch, model_of
from tests.conftest import real_file
from traces import InputError
from traces.arrays import Numbers

DRAW = np.random.default_rng(11)


def draw(*shape: int) -> Numbers:
    return DRAW.normal(size=shape).astype("f4")


def float_initialisers(model: onnx.ModelProto) -> dict[str, Numbers]:
    arrays = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    return {name: array for name, array in arrays.items() if array.dtype == np.float32}


def observed(module: GraphModule, *inputs: Numbers) -> list[tuple[str | None, str, torch.Size, torch.Size]]:
    calls: list[tuple[str | None, str, torch.Size, torch.Size]] = []
    with module.observing(lambda p, n, _, x, w: calls.append((p, n, x.shape, w.shape))), torch.no_grad():
        module(*map(torch.tensor, inputs))
    return calls


# Real networks


@pytest.mark.parametrize(
    ("file", "shapes"),
    [
        ("mlperf_tiny/autoencoder_toycar.onnx", [(3, 640)]),
        ("mlperf_tiny/ds_cnn_keyword_spotting.onnx", [(3, 49, 10, 1)]),
        ("mlperf_tiny/resnet8_cifar10.onnx", [(3, 32, 32, 3)]),
        ("deepfilternet3/df_dec.onnx", [(1, 7, 512), (1, 64, 7, 96)]),
    ],
)
def test_real_networks_as_in_onnx_runtime(data: Path, file: str, shapes: list[tuple[int, ...]]) -> None:
    model = onnx.load(real_file(data, "models", *file.split("/")))
    inputs = {value.name: draw(*shape) for value, shape in zip(model.graph.input, shapes, strict=True)}
    parameters = float_initialisers(model)
    assert_same(in_pytorch(model, inputs, **parameters), in_onnx_runtime(model, inputs))
    module = GraphModule(model, parameters)
    assert set(dict(module.named_parameters())) == set(module.state_dict()) == set(parameters)


# Modules that PyTorch exports


class Block(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.normal = torch.nn.BatchNorm2d(4)
        self.second = torch.nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2)
        self.short = torch.nn.Conv2d(4, 8, 1, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.normal(self.first(x)))
        return torch.nn.functional.adaptive_avg_pool2d(torch.relu(self.second(y) + self.short(x)), 1).flatten(1)


class FirstOutput(torch.nn.Module):
    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.inner(x)[0]
        return output


class Tokens(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(10, 6)
        self.weight = torch.nn.Parameter(torch.randn(6, 6))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.table(tokens)
        return torch.nn.functional.linear(torch.softmax(x @ self.weight, -1) @ self.weight.T, self.table.weight)


MODULES: dict[str, Callable[[], tuple[torch.nn.Module, torch.Tensor]]] = {
    "block": lambda: (Block(), torch.randn(2, 4, 8, 8)),
    "lstm": lambda: (
        FirstOutput(torch.nn.LSTM(4, 3, 2, bidirectional=True, batch_first=True)),
        torch.randn(2, 5, 4),
    ),
    "gru": lambda: (FirstOutput(torch.nn.GRU(4, 3)), torch.randn(5, 2, 4)),
    "transformer": lambda: (
        torch.nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True),
        torch.randn(2, 5, 8),
    ),
    "tokens": lambda: (Tokens(), torch.tensor([[1, 2, 3], [9, 0, 1]])),
    "groups": lambda: (
        torch.nn.Sequential(
            torch.nn.ConvTranspose1d(4, 6, 3, stride=2, padding=1, output_padding=1),
            torch.nn.GroupNorm(2, 6),
            torch.nn.Conv1d(6, 4, 3, padding=2, dilation=2, padding_mode="circular"),
            torch.nn.Upsample(scale_factor=2, mode="linear"),
        ),
        torch.randn(2, 4, 7),
    ),
}


@pytest.mark.parametrize("optimize", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", MODULES)
@pytest.mark.filterwarnings("ignore")
def test_exported_modules_have_the_same_outputs_and_derivatives(name: str, optimize: bool) -> None:
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    module, x = MODULES[name]()
    module.eval()
    program = torch.onnx.export(module, (x,), dynamo=True, optimize=optimize, verbose=False)
    assert program is not None
    model = program.model_proto
    parameters = float_initialisers(model)
    graph_module = GraphModule(model, parameters)
    expected, found = module(x), graph_module(x)
    direction = torch.randn(expected.shape)
    (expected * direction).sum().backward()
    (found * direction).sum().backward()
    assert_same([found.detach().numpy()], [expected.detach().numpy()])
    if not optimize:  # or else the exporter folds uses of parameters into new constants
        for name, parameter in module.named_parameters():
            gradient, wanted = graph_module.get_parameter(name).grad, parameter.grad
            assert gradient is not None
            assert wanted is not None
            assert_same([gradient.numpy()], [wanted.numpy()])


# Derivatives


@pytest.mark.parametrize(
    ("operator", "shapes", "attributes"),
    [
        ("Conv", [(1, 2, 5, 5), (4, 1, 3, 2), (4,)], {"group": 2, "auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        ("ConvTranspose", [(1, 2, 4), (2, 3, 3), (3,)], {"strides": [2], "pads": [0, 1], "output_padding": [1]}),
        ("Gemm", [(3, 4), (5, 4), (5,)], {"transB": 1, "alpha": 0.5}),
        ("Einsum", [(3, 2, 4), (2, 4, 5)], {"equation": "bgi,gio->bgo"}),
        ("LSTM", [(4, 2, 3), (1, 8, 3), (1, 8, 2), (1, 16)], {"hidden_size": 2, "direction": "reverse"}),
        ("GRU", [(4, 2, 3), (2, 6, 3), (2, 6, 2), (2, 12)], {"hidden_size": 2, "direction": "bidirectional"}),
        ("LayerNormalization", [(3, 4), (4,), (4,)], {}),
        ("PRelu", [(3, 4), (4,)], {}),
    ],
)
def test_derivatives_by_finite_differences(
    operator: str, shapes: list[tuple[int, ...]], attributes: dict[str, Any]
) -> None:
    arrays = {f"x{place}": draw(*shape) for place, shape in enumerate(shapes)}
    node = helper.make_node(operator, list(arrays), ["y"], "node", **attributes)
    x = arrays.pop("x0")
    module = GraphModule(model_of([node], {"x0": x}, ["y"], 17, arrays), arrays).double()
    entering = torch.tensor(x).double().requires_grad_()
    parameters = list(module.parameters())
    assert torch.autograd.gradcheck(lambda x, *_: module(x), (entering, *parameters))


def test_constants_follow_the_module_to_another_type() -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    module = GraphModule(model_of([node], {"x": draw(2, 3)}, ["y"], 13, {"w": draw(3, 2)}), {}).double()
    assert module(torch.ones(2, 3, dtype=torch.float64)).dtype == torch.float64


# Names of parameters


@pytest.mark.parametrize(
    "names",
    [
        ("layer.weight", "layer.bias"),
        ("a", "a.b"),
        ("a.b", "a"),
        ("a.b.c", "a.b"),
        ("/conv/W:0", "räume und zeichen!"),
        ("forward", "training"),
        ("a..b", "a."),
        ("0", "_parameters"),
    ],
)
def test_parameters_have_exactly_the_names_of_the_initialisers(names: tuple[str, str]) -> None:
    values = {name: draw(3) for name in names}
    nodes = [helper.make_node("Mul", ["x", names[0]], ["m"]), helper.make_node("Add", ["m", names[1]], ["y"])]
    x = draw(2, 3)
    module = GraphModule(model_of(nodes, {"x": x}, ["y"], 13, values), values)
    assert {name for name, _ in module.named_parameters()} == set(module.state_dict()) == set(names)
    changed = {name: torch.tensor(draw(3)) for name in names}
    module.load_state_dict(changed)
    found = module(torch.tensor(x))
    torch.testing.assert_close(found, torch.tensor(x) * changed[names[0]] + changed[names[1]])
    found.sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_a_name_that_starts_with_a_dot_is_refused() -> None:
    model = model_of([helper.make_node("Mul", ["x", ".w"], ["y"])], {"x": draw(3)}, ["y"], 13)
    with pytest.raises(InputError, match=r"must not start with a dot; found '\.w'"):
        GraphModule(model, {".w": draw(3)})


def test_values_come_from_the_parameters_even_if_the_graph_has_others_or_none() -> None:
    node = helper.make_node("Mul", ["x", "w"], ["y"])
    x = draw(3)
    for initialisers in ({}, {"w": draw(3)}):
        model = model_of([node], {"x": x}, ["y"], 13, {"w": draw(3)})
        if not initialisers:
            del model.graph.initializer[:]
        assert_same(in_pytorch(model, {"x": x}, w=np.ones(3, "f4")), [x])


def test_parametrizations_copies_and_pickles_keep_working() -> None:
    weight, x = draw(3, 2), draw(4, 3)
    model = model_of([helper.make_node("MatMul", ["x", "part.w"], ["y"], "node")], {"x": x}, ["y"], 13)
    module = GraphModule(model, {"part.w": weight})
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        with torch.no_grad():
            twin.get_parameter("part.w").zero_()
        assert not twin(torch.tensor(x)).any()
        assert module(torch.tensor(x)).any()

    class Doubled(torch.nn.Module):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return 2 * values

    expected = 2 * module(torch.tensor(x))
    torch.nn.utils.parametrize.register_parametrization(module.get_submodule("part"), "w", Doubled())
    torch.testing.assert_close(module(torch.tensor(x)), expected)


# Products that are observed


def test_every_product_of_a_weight_is_observed_and_no_other() -> None:
    weights = {"c": draw(4, 2, 3), "g": draw(6, 1), "v": draw(6, 4), "left": draw(5, 5), "e": draw(2, 6, 3)}
    nodes = [
        helper.make_node("Conv", ["x", "c"], ["convolved"], "conv"),
        helper.make_node("Transpose", ["convolved"], ["rows"], perm=[0, 2, 1]),
        helper.make_node("Mul", ["g", "v"], ["normed"]),
        helper.make_node("Transpose", ["normed"], ["turned"]),
        helper.make_node("MatMul", ["rows", "turned"], ["product"], "computed weight"),
        helper.make_node("MatMul", ["left", "product"], ["mixed"], "weight on the left"),
        helper.make_node("Transpose", ["mixed"], ["back"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["mixed", "back"], ["square"], "activations"),
        helper.make_node("Einsum", ["mixed", "e"], ["z"], "einsum", equation="bti,gio->btgo"),
        helper.make_node("MatMul", ["square", "fixed"], ["y"], "constant weight"),
    ]
    x = draw(2, 2, 7)
    model = model_of(nodes, {"x": x}, ["y", "z"], 13, {"fixed": draw(5, 1)})
    module = GraphModule(model, weights)
    found = observed(module, x)
    assert [(parameter, node, tuple(entering), tuple(weight)) for parameter, node, entering, weight in found] == [
        ("c", "conv", (2, 2, 7), (4, 2, 3)),
        ("v", "computed weight", (2, 5, 4), (4, 6)),
        ("left", "weight on the left", (2, 5, 6), (5, 5)),
        ("e", "einsum", (2, 5, 6), (2, 6, 3)),
        (None, "constant weight", (2, 5, 5), (5, 1)),
    ]
    assert not module._observers


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_hidden_states_enter_recurrent_weights(direction: str) -> None:
    ways = 2 if direction == "bidirectional" else 1
    weights = {"w": draw(ways, 2, 3), "r": draw(ways, 2, 2)}
    node = helper.make_node("RNN", ["x", "w", "r", "", "", "h"], ["y"], "rnn", hidden_size=2, direction=direction)
    inputs = {"x": draw(5, 3, 3), "h": draw(ways, 3, 2)}
    module = GraphModule(model_of([node], inputs, ["y"], 14), weights)
    seen: dict[str | None, torch.Tensor] = {}
    with module.observing(lambda parameter, _, __, entering, weight: seen.update({parameter: entering})):
        outputs = module(*map(torch.tensor, inputs.values()))
    assert torch.equal(seen["w"], torch.tensor(inputs["x"]))
    w, r = module.get_parameter("w"), module.get_parameter("r")
    again = torch.tanh(torch.einsum("tbi,doi->tdbo", seen["w"], w) + torch.einsum("tdbi,doi->tdbo", seen["r"], r))
    torch.testing.assert_close(again, outputs)


def test_a_gru_that_resets_first_reports_its_input_weights_only() -> None:
    weights = {"w": draw(1, 6, 3), "r": draw(1, 6, 2)}
    x = draw(5, 3, 3)
    for reset_last, expected in ((0, ["w"]), (1, ["w", "r"])):
        node = helper.make_node("GRU", ["x", "w", "r"], ["y"], hidden_size=2, linear_before_reset=reset_last)
        module = GraphModule(model_of([node], {"x": x}, ["y"], 14), weights)
        assert [parameter for parameter, *_ in observed(module, x)] == expected


# Inputs, outputs and constants


def test_inputs_by_order_and_name_and_outputs_by_name() -> None:
    nodes = [helper.make_node("Sub", ["a", "b"], ["d"]), helper.make_node("Add", ["a", "b"], ["s"])]
    a, b = draw(2), draw(2)
    module = GraphModule(model_of(nodes, {"a": a, "b": b}, ["d", "s"], 13), {})
    first = module(torch.tensor(a), b=torch.tensor(b))
    assert (module.input_names, module.output_names, list(first)) == (("a", "b"), ("d", "s"), ["d", "s"])
    np.testing.assert_array_equal(first["d"], a - b)
    np.testing.assert_array_equal(module(b=torch.tensor(b), a=torch.tensor(a))["s"], a + b)
    for arguments, named, message in (
        ((a,), {}, "found no b; add it"),
        ((a, b, b), {}, "has 2 inputs: a, b; found 3"),
        ((a, b), {"b": b}, "found b, which is given twice"),
        ((a, b), {"c": b}, "found c, which is unknown"),
    ):
        with pytest.raises(InputError, match=message):
            module(*map(torch.tensor, arguments), **{name: torch.tensor(each) for name, each in named.items()})


def test_what_depends_on_constants_alone_is_computed_once() -> None:
    nodes = [
        helper.make_node("Shape", ["fixed"], ["size"]),
        helper.make_node("Reshape", ["fixed", "size"], ["same"]),
        helper.make_node("Add", ["x", "same"], ["y"]),
    ]
    x, fixed = draw(3), draw(3)
    module = GraphModule(model_of(nodes, {"x": x}, ["y", "size"], 13, {"fixed": fixed}), {})
    assert [call.node.op_type for call in module._calls] == ["Add"]
    assert not module.state_dict()
    np.testing.assert_array_equal(module(torch.tensor(x))["y"], x + fixed)
    np.testing.assert_array_equal(module(torch.tensor(x))["size"], [3])


def test_functions_of_the_graph_are_inlined() -> None:
    x = draw(3)
    model = model_of([helper.make_node("Identity", ["x"], ["y"])], {"x": x}, ["y"], 13)
    model.graph.node[0].CopyFrom(helper.make_node("Twice", ["x"], ["y"], domain="own"))
    model.opset_import.append(helper.make_opsetid("own", 1))
    twice = helper.make_function(
        "own", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 13)]
    )
    model.functions.append(twice)
    assert_same(in_pytorch(model, {"x": x}), [x + x])


def test_a_run_that_needs_another_branch_is_refused() -> None:
    nodes = [helper.make_node("Size", ["x"], ["size"]), helper.make_node("Mul", ["x", "x"], ["y"])]
    module = GraphModule(model_of(nodes, {"x": draw(3)}, ["y"], 13), {}, {"size": np.array(3)})
    module(torch.ones(3))
    with pytest.raises(InputError, match=r"value 'size', which decides a branch .* must be 3 .*; found 4"):
        module(torch.ones(4))


# Refusals


@pytest.mark.parametrize(
    ("node", "opset", "message"),
    [
        (helper.make_node("Det", ["x"], ["y"], "d"), 13, r"'d' \(Det\).*domain 'ai.onnx', opset 13, is not executed"),
        (helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft"), 13, r"'y' \(Gelu\).*'com.microsoft'"),
        (helper.make_node("Gelu", ["x"], ["y"]), 13, r"\(Gelu\).*opset 13 has no such operator"),
        (helper.make_node("LSTM", ["x", "x", "x"], ["y"], clip=1.0), 13, r"\(LSTM\).*attribute clip is not executed"),
        (helper.make_node("LSTM", ["x"] * 8, ["y"]), 13, r"\(LSTM\).*input 7 \(x\) is not executed"),
        (
            helper.make_node("GRU", ["x", "x", "x"], ["y"], activations=["Relu", "Tanh"]),
            13,
            r"attribute activations must be one of .*; found \['Relu', 'Tanh'\]",
        ),
        (helper.make_node("MaxPool", ["x"], ["y", "i"], kernel_shape=[1]), 13, r"output 1 \(i\) is not computed"),
        (helper.make_node("Resize", ["x", "", "x"], ["y"], antialias=1), 18, "antialias must be one of 0; found 1"),
        (helper.make_node("Add", ["x", "nothing"], ["y"]), 13, "input nothing is the output of no earlier node"),
        (helper.make_node("Add", ["x", "x"], ["y"]), 6, "opset must be 7 or later; found 6"),
    ],
)
def test_what_is_not_executed_is_refused_by_name(node: onnx.NodeProto, opset: int, message: str) -> None:
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, None)],
        [onnx.ValueInfoProto(name="y")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    with pytest.raises(InputError, match=message):
        GraphModule(model, {})


def test_inputs_on_which_a_node_cannot_run_are_refused_by_its_name() -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"], "product")
    module = GraphModule(model_of([node], {"x": draw(2, 3)}, ["y"], 13), {"w": draw(3, 2)})
    with pytest.raises(
        InputError, match=r"node 'product' \(MatMul\) cannot run on inputs of shapes \[2, 4\], \[3, 2\]"
    ):
        module(torch.ones(2, 4))


def test_integers_are_buffers_and_not_trained() -> None:
    model = model_of([helper.make_node("Add", ["x", "table.w"], ["y"])], {"x": np.arange(3)}, ["y"], 13)
    module = GraphModule(model, {"table.w": np.arange(3)})
    assert (list(module.parameters()), list(module.state_dict())) == ([], ["table.w"])
    module.load_state_dict({"table.w": torch.tensor([5, 6, 7])})
    assert module(torch.arange(3)).tolist() == [5, 7, 9]
