"""Products of weights with activations: each operator and attribute, beside ONNX Runtime."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.traces.graph.graphs import activations, checked, compressed, drawn, matrix_of, model, node, run
from traces import InputError, Network
from traces.graph.products import window_reuse_of

FEW = settings(deadline=None, max_examples=20)
MORE = settings(deadline=None, max_examples=25)


def refused(made: Any, feeds: Any, sentence: str) -> None:
    """Assert that ONNX Runtime runs a model that this project refuses by name."""
    run(made, feeds)
    with pytest.raises(InputError, match=re.escape(sentence)):
        _ = Network.open(made, feeds).layers


# Convolutions


@st.composite
def spatial_cases(draw: st.DrawFn) -> dict[str, Any]:
    """Draw the attributes that Conv and ConvTranspose have in common, and sizes of images."""
    axes = draw(st.sampled_from([1, 2, 2, 3]))
    lengths = st.lists(st.integers(1, 3), min_size=axes, max_size=axes)
    case: dict[str, Any] = {
        "axes": axes,
        "kernel": draw(lengths),
        "groups": draw(st.sampled_from([1, 2, 3])),
        "inner": draw(st.integers(1, 2)),
        "outer": draw(st.integers(1, 2)),
        "bias": draw(st.booleans()),
        "inputs": draw(st.integers(1, 2)),
        "seed": draw(st.integers(0, 99)),
        "num_pes": draw(st.integers(1, 4)),
        "opset": draw(st.sampled_from([7, 11, 13, 17, 22])),
        "sizes": draw(st.lists(st.integers(3, 6), min_size=axes, max_size=axes)),
        "attributes": {},
    }
    if draw(st.booleans()):
        case["attributes"]["strides"] = draw(lengths)
    if draw(st.booleans()):
        case["attributes"]["dilations"] = draw(st.lists(st.integers(1, 2), min_size=axes, max_size=axes))
    if draw(st.booleans()):
        case["attributes"]["kernel_shape"] = case["kernel"]
    return case


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_windows_that_share_an_activation(size: int, stride: int, dilation: int) -> None:
    windows = [{begin * stride + step * dilation for step in range(size)} for begin in range(1000)]
    inner = [place for place in range(100, 100 + 60 * stride) if any(place in window for window in windows)]
    mean = sum(place in window for window in windows for place in inner) / len(inner)
    assert window_reuse_of([size], [stride], [dilation]) == pytest.approx(mean, rel=0.02)
    assert window_reuse_of([size, 3], [stride, 1], [dilation, 1]) == 3 * window_reuse_of([size], [stride], [dilation])


@MORE
@given(spatial_cases(), st.data())
def test_a_convolution_is_that_of_onnx(case: dict[str, Any], data: st.DataObject) -> None:
    axes, groups, given_attributes = case["axes"], case["groups"], dict(case["attributes"])
    padding = data.draw(st.sampled_from(["none", "pads", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if padding == "pads":
        given_attributes["pads"] = data.draw(st.lists(st.integers(0, 2), min_size=2 * axes, max_size=2 * axes))
    elif padding != "none":
        given_attributes["auto_pad"] = padding
        if padding != "VALID":
            given_attributes.pop("dilations", None)  # ONNX Runtime refuses the two together
    if groups > 1 or data.draw(st.booleans()):
        given_attributes["group"] = groups
    reach = [
        (length - 1) * step + 1
        for length, step in zip(case["kernel"], given_attributes.get("dilations", [1] * axes), strict=True)
    ]
    assume(all(size >= length for size, length in zip(case["sizes"], reach, strict=True)))
    rows, channels = groups * case["outer"], groups * case["inner"]
    parameters = {"w": drawn(case["seed"], rows, case["inner"], *case["kernel"])}
    operands = ["x", "w"]
    if case["bias"]:
        parameters["b"], operands = drawn(case["seed"] + 1, rows), [*operands, "b"]
    made = model(
        [node("Conv", operands, **given_attributes)],
        {"x": ["n", channels, *case["sizes"]]},
        parameters=parameters,
        opset=case["opset"],
    )
    feeds = {"x": activations(case["seed"], case["inputs"], channels, *case["sizes"])}
    positions = math.prod(run(made, feeds)[0].shape[2:])
    network, _ = checked(made, feeds, num_pes=case["num_pes"], kinds=[f"Conv{axes}d"], vectors=[positions * groups])
    np.testing.assert_array_equal(matrix_of(network), parameters["w"].reshape(groups, case["outer"], -1))
    assert network.layers[0].bias == ("b" if case["bias"] else None)
    assert network.off_array == {}


@MORE
@given(spatial_cases(), st.data())
def test_a_transposed_convolution_is_that_of_onnx(case: dict[str, Any], data: st.DataObject) -> None:
    axes, groups, given_attributes = case["axes"], case["groups"], dict(case["attributes"])
    strides = given_attributes.get("strides", [1] * axes)
    dilations = given_attributes.get("dilations", [1] * axes)
    padding = data.draw(st.sampled_from(["none", "pads", "SAME_UPPER", "SAME_LOWER", "VALID", "output_shape"]))
    full = [
        (size - 1) * stride + (length - 1) * dilation + 1
        for size, stride, length, dilation in zip(case["sizes"], strides, case["kernel"], dilations, strict=True)
    ]
    if padding == "pads":
        pads = data.draw(st.lists(st.integers(0, 2), min_size=2 * axes, max_size=2 * axes))
        assume(all(whole > pads[k] + pads[axes + k] for k, whole in enumerate(full)))
        given_attributes["pads"] = pads
    elif padding == "output_shape":
        shrunk = data.draw(st.lists(st.integers(-2, 2), min_size=axes, max_size=axes))
        assume(all(whole > less for whole, less in zip(full, shrunk, strict=True)))
        given_attributes["output_shape"] = [whole - less for whole, less in zip(full, shrunk, strict=True)]
        upper = data.draw(st.sampled_from([None, "SAME_UPPER", "SAME_LOWER"]))
        if upper:
            given_attributes["auto_pad"] = upper
    elif padding != "none":
        given_attributes["auto_pad"] = padding
    if padding != "output_shape" and data.draw(st.booleans()):
        given_attributes["output_padding"] = [
            data.draw(st.integers(0, max(stride, dilation) - 1))
            for stride, dilation in zip(strides, dilations, strict=True)
        ]
    if groups > 1:
        given_attributes["group"] = groups
    channels, rows = groups * case["inner"], groups * case["outer"]
    parameters = {"w": drawn(case["seed"], channels, case["outer"], *case["kernel"])}
    operands = ["x", "w"]
    if case["bias"]:
        parameters["b"], operands = drawn(case["seed"] + 1, rows), [*operands, "b"]
    made = model(
        [node("ConvTranspose", operands, **given_attributes)],
        {"x": ["n", channels, *case["sizes"]]},
        parameters=parameters,
        opset=case["opset"],
    )
    feeds = {"x": activations(case["seed"], case["inputs"], channels, *case["sizes"])}
    try:
        run(made, feeds)
    except Exception:  # ONNX Runtime takes no such attributes
        assume(False)
    network, _ = checked(
        made,
        feeds,
        num_pes=case["num_pes"],
        kinds=[f"ConvTranspose{axes}d"],
        vectors=[math.prod(case["sizes"]) * groups],
    )
    weights = parameters["w"].reshape(groups, case["inner"], -1)
    np.testing.assert_array_equal(matrix_of(network), weights.transpose(0, 2, 1))
    assert network.layers[0].bias is None  # it is added after overlapping products, off the array


# Matrix products


@MORE
@given(
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([1.0, 1.0, 0.5, -2.0]),
    st.sampled_from([1.0, 1.0, 0.25, 0.0]),
    st.sampled_from(["none", "rows", "row", "column", "matrix", "one", "scalar", "moving"]),
    st.integers(1, 4),
    st.integers(0, 99),
    st.sampled_from([11, 13, 19]),
)
def test_a_gemm_is_that_of_onnx(
    trans_a: bool,
    trans_b: bool,
    weight_second: bool,
    alpha: float,
    beta: float,
    addend: str,
    num_pes: int,
    seed: int,
    opset: int,
) -> None:
    inputs, inner, outer = 3, 4, 5
    given_attributes: dict[str, Any] = {"transA": int(trans_a), "transB": int(trans_b), "alpha": alpha, "beta": beta}
    if weight_second:  # x [inputs, inner], w [inner, outer]
        shapes = (inputs, inner), (inner, outer)
        output = (inputs, outer)
    else:  # w [outer, inner], x [inner, inputs]
        shapes = (outer, inner), (inner, inputs)
        output = (outer, inputs)
    first, second = (
        shape[::-1] if transposed else shape for shape, transposed in zip(shapes, (trans_a, trans_b), strict=True)
    )
    entering, weights = (first, second) if weight_second else (second, first)
    parameters = {"w": drawn(seed, *weights)}
    feeds = {"x": activations(seed, *entering)}
    operands = ["x", "w"] if weight_second else ["w", "x"]
    shape = {
        "rows": (output[1],),
        "row": (1, output[1]),
        "column": (output[0], 1),
        "matrix": output,
        "one": (1,),
        "scalar": (),
    }.get(addend)
    if shape is not None:
        parameters["c"], operands = drawn(seed + 1, *shape, sparse=False), [*operands, "c"]
    described: dict[str, Any] = {"x": entering}
    if addend == "moving":
        feeds["c"], operands = activations(seed + 1, *output), [*operands, "c"]
        described["c"] = output
    made = model([node("Gemm", operands, **given_attributes)], described, parameters=parameters, opset=opset)
    network, _ = checked(made, feeds, num_pes=num_pes, kinds=["Linear"])
    matrix = parameters["w"]
    if (weight_second and not trans_b) or (not weight_second and trans_a):
        matrix = matrix.T
    np.testing.assert_array_equal(matrix_of(network), matrix[np.newaxis])


@pytest.mark.parametrize("rank", [1, 2, 3, 4])
@pytest.mark.parametrize("opset", [7, 13, 22])
def test_a_matmul_with_a_matrix_on_the_right_is_that_of_onnx(rank: int, opset: int) -> None:
    shape = [2, 3, 4, 5][4 - rank :]
    made = model(
        [node("MatMul", ["x", "w"])], {"x": shape if rank == 1 else ["n", *shape[1:]]},
        parameters={"w": drawn(rank, 5, 6)}, opset=opset,
    )  # fmt: skip
    inputs = 1 if rank == 1 else shape[0]
    network, _ = checked(
        made,
        {"x": activations(rank, *shape)},
        kinds=["Linear"],
        vectors=[math.prod(shape[:-1]) / inputs],
        by_input=rank > 1,
    )
    np.testing.assert_array_equal(matrix_of(network)[0], network.parameters["w"].T)


@pytest.mark.parametrize("rank", [1, 2, 3, 4])
def test_a_matmul_with_a_matrix_on_the_left_is_that_of_onnx(rank: int) -> None:
    shape = [2, 3, 4, 5][4 - rank :]
    made = model(
        [node("MatMul", ["w", "x"])], {"x": shape}, parameters={"w": drawn(rank, 6, shape[-2] if rank > 1 else 5)}
    )
    network, _ = checked(made, {"x": activations(rank, *shape)}, kinds=["Linear"], by_input=False)
    np.testing.assert_array_equal(matrix_of(network)[0], network.parameters["w"])


@pytest.mark.parametrize(
    ("entering", "weights", "weight_second"),
    [
        ((2, 5), (5,), True),
        ((2, 3, 5), (5,), True),
        ((5,), (5,), True),
        ((5, 3), (5,), False),
        ((2, 5, 3), (5,), False),
        ((2, 3, 5), (3,), False),
    ],
)
def test_a_matmul_with_a_vector_of_weights_is_that_of_onnx(entering: Any, weights: Any, weight_second: bool) -> None:
    operands = ["x", "w"] if weight_second else ["w", "x"]
    made = model([node("MatMul", operands)], {"x": entering}, parameters={"w": drawn(1, *weights, sparse=False)})
    network, _ = checked(made, {"x": activations(1, *entering)}, kinds=["Linear"], by_input=False)
    np.testing.assert_array_equal(matrix_of(network).ravel(), network.parameters["w"])


@pytest.mark.parametrize(
    ("entering", "weights", "weight_second"),
    [
        ((2, 4, 5), (2, 5, 3), True),
        ((4, 5), (2, 5, 3), True),
        ((7, 2, 4, 5), (2, 5, 3), True),
        ((1, 4, 5), (2, 5, 3), True),
        ((3, 2, 4, 5), (3, 2, 5, 6), True),
        ((2, 4, 5), (3, 2, 5, 6), True),
        ((3, 1, 4, 5), (3, 2, 5, 6), True),
        ((1, 4, 5), (1, 5, 3), True),
        ((6, 4, 5), (1, 5, 3), True),
        ((2, 4, 5), (2, 3, 4), False),
        ((4, 5), (2, 3, 4), False),
        ((7, 2, 4, 5), (2, 3, 4), False),
        ((7, 1, 4, 5), (2, 3, 4), False),
        ((6, 4, 5), (1, 3, 4), False),
        ((7, 6, 4, 5), (1, 1, 3, 4), False),
    ],
)
def test_a_matmul_with_a_matrix_for_each_place_is_that_of_onnx(
    entering: Any, weights: Any, weight_second: bool
) -> None:
    operands = ["x", "w"] if weight_second else ["w", "x"]
    made = model([node("MatMul", operands)], {"x": entering}, parameters={"w": drawn(2, *weights)})
    network, _ = checked(made, {"x": activations(2, *entering)}, by_input=False)
    matrix = network.parameters["w"].reshape(-1, *weights[-2:])
    np.testing.assert_array_equal(matrix_of(network), matrix.transpose(0, 2, 1) if weight_second else matrix)


@pytest.mark.parametrize(
    ("entering", "weights"), [((2, 3, 4, 5), (2, 1, 5, 6)), ((5,), (2, 5, 3)), ((4, 5), (2, 1, 5, 3))]
)
def test_a_matmul_that_is_not_handled_is_refused(entering: Any, weights: Any) -> None:
    made = model([node("MatMul", ["x", "w"])], {"x": entering}, parameters={"w": drawn(2, *weights)})
    feeds = {"x": activations(2, *entering)}
    run(made, feeds)
    with pytest.raises(InputError, match=r"MatMul \(y\): .*not handled"):
        _ = Network.open(made, feeds).layers


@pytest.mark.parametrize(
    ("shape", "bias", "on_array"),
    [
        ((2, 5), (6,), True),
        ((2, 3, 5), (6,), True),
        ((2, 5), (1,), True),
        ((2, 5), (1, 6), False),
        ((2, 6, 5), (6, 1), False),
        ((2, 3, 5), (3, 6), False),
        ((2, 5), (), False),
    ],
)
@pytest.mark.parametrize("weight_first", [False, True])
def test_an_addition_after_a_matmul_is_its_bias_if_it_has_a_value_for_each_row(
    shape: Any, bias: Any, on_array: bool, weight_first: bool
) -> None:
    added = ["b", "p"] if weight_first else ["p", "b"]
    made = model(
        [node("MatMul", ["x", "w"], ["p"]), node("Add", added)],
        {"x": ["n", *shape[1:]]},
        parameters={"w": drawn(3, 5, 6), "b": drawn(4, *bias, sparse=False)},
    )
    network, _ = checked(made, {"x": activations(3, *shape)}, kinds=["Linear"])
    assert network.layers[0].bias == ("b" if on_array else None)
    assert {name: each.count for name, each in network.off_array.items()} == ({} if on_array else {"Add": 1})


def test_an_addition_that_others_see_through_stays_off_the_array() -> None:
    parameters = {"w": drawn(3, 5, 6), "b": drawn(4, 6)}
    nodes = [node("MatMul", ["x", "w"], ["p"]), node("Add", ["p", "b"], ["s"])]
    for more in (node("Mul", ["p", "s"]), node("Add", ["s", "p"])):
        made = model([*nodes, more], {"x": ["n", 5]}, parameters=parameters)
        network, _ = checked(made, {"x": activations(3, 2, 5)})
        assert network.layers[0].bias is None
    made = model(nodes, {"x": ["n", 5]}, ("s", "p"), parameters)
    network, result = checked(made, {"x": activations(3, 2, 5)})
    assert network.layers[0].bias is None
    assert sorted(result.output) == ["p", "s"]


EQUATIONS = [
    ("ab,bc->ac", (2, 5), (5, 3), True),
    ("ab,cb->ac", (2, 5), (3, 5), True),
    ("ab,cb", (2, 5), (3, 5), True),
    ("abc,cd->abd", (2, 3, 5), (5, 4), True),
    ("abc,cd->dba", (2, 3, 5), (5, 4), True),
    ("bhqd,hdo->bqo", (2, 3, 4, 5), (3, 5, 6), True),
    ("bqd,hdo->bhqo", (2, 4, 5), (3, 5, 6), True),
    ("bhd,hdo->bho", (2, 3, 5), (3, 5, 6), True),
    ("hbd,hdo->obh", (3, 2, 5), (3, 5, 6), True),
    ("bgd,god->bgo", (2, 3, 5), (3, 4, 5), True),
    ("bi,oij->boj", (2, 5), (4, 5, 3), True),
    ("bij,ij->b", (2, 4, 5), (4, 5), True),
    ("bij,ij->bij", (2, 4, 5), (4, 5), True),
    ("bij,i->bij", (2, 4, 5), (4,), True),
    ("i,bij->bj", (5,), (2, 5, 4), False),
    ("oi,bi->bo", (4, 5), (2, 5), False),
    ("oi,bti->bto", (4, 5), (2, 3, 5), False),
    ("a,b->ab", (3,), (4,), True),
    (" a b , b c -> a c ", (2, 5), (5, 3), True),
]


@pytest.mark.parametrize(("equation", "first", "second", "weight_second"), EQUATIONS)
def test_an_einsum_is_that_of_onnx(equation: str, first: Any, second: Any, weight_second: bool) -> None:
    entering, weights = (first, second) if weight_second else (second, first)
    operands = ["x", "w"] if weight_second else ["w", "x"]
    made = model([node("Einsum", operands, equation=equation)], {"x": entering}, parameters={"w": drawn(5, *weights)})
    checked(made, {"x": activations(5, *entering)}, by_input=False)


@pytest.mark.parametrize(
    ("equation", "first", "second", "sentence"),
    [
        ("...b,bc->...c", (2, 5), (5, 3), "use two operands, without '...'"),
        ("aa,ab->b", (5, 5), (5, 3), "a letter twice in one operand"),
        ("ab,bc->a", (2, 5), (5, 3), "sums weights alone"),
        ("ab,bc->c", (2, 5), (5, 3), "sums activations alone"),
    ],
)
def test_an_einsum_that_is_not_handled_is_refused(equation: str, first: Any, second: Any, sentence: str) -> None:
    made = model([node("Einsum", ["x", "w"], equation=equation)], {"x": first}, parameters={"w": drawn(5, *second)})
    refused(made, {"x": activations(5, *first)}, sentence)


def test_an_einsum_of_three_operands_is_refused_if_one_is_a_weight() -> None:
    nodes = [node("Einsum", ["x", "w", "v"], equation="ab,bc,cd->ad")]
    made = model(nodes, {"x": (2, 5)}, parameters={"w": drawn(5, 5, 4), "v": drawn(6, 4, 3)})
    refused(made, {"x": activations(5, 2, 5)}, "Einsum (y)")


# Recurrent layers


@st.composite
def recurrent_cases(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a recurrent node."""
    return {
        "kind": draw(st.sampled_from(["LSTM", "GRU", "RNN"])),
        "direction": draw(st.sampled_from(["forward", "reverse", "bidirectional"])),
        "bias": draw(st.booleans()),
        "hidden": draw(st.sampled_from(["none", "fixed", "moving"])),
        "cell": draw(st.sampled_from(["none", "fixed", "moving"])),
        "lengths": draw(st.booleans()),
        "after": draw(st.integers(0, 1)),
        "steps": draw(st.integers(1, 3)),
        "inputs": draw(st.integers(1, 3)),
        "columns": draw(st.integers(1, 4)),
        "size": draw(st.integers(1, 3)),
        "outputs": draw(st.sampled_from([("y",), ("y", "h"), ("", "h"), ("y", "h", "c"), ("", "", "c")])),
        "relu": draw(st.booleans()),
        "opset": draw(st.sampled_from([7, 14, 22])),
        "num_pes": draw(st.integers(1, 4)),
        "seed": draw(st.integers(0, 99)),
    }


@FEW
@given(recurrent_cases())
def test_a_recurrent_layer_is_that_of_onnx(case: dict[str, Any]) -> None:
    kind, size, columns, steps, seed = (case[key] for key in ("kind", "size", "columns", "steps", "seed"))
    fixed_states = case["lengths"] or "fixed" in (case["hidden"], case["cell"] if kind == "LSTM" else "")
    inputs = 1 if fixed_states else case["inputs"]
    directions = 2 if case["direction"] == "bidirectional" else 1
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    parameters = {
        "w": drawn(seed, directions, gates * size, columns),
        "r": drawn(seed + 1, directions, gates * size, size),
    }
    feeds = {"x": activations(seed, inputs, steps, columns)}
    described: dict[str, Any] = {"x": ["n", steps, columns]}
    nodes = [node("Transpose", ["x"], ["xt"], perm=[1, 0, 2])]
    names = ["xt", "w", "r", "", "", "", ""]
    if case["bias"]:
        parameters["b"], names[3] = drawn(seed + 2, directions, 2 * gates * size), "b"
    if case["lengths"]:
        parameters["lengths"], names[4] = np.full(inputs, steps, dtype=np.int32), "lengths"
    for place, key, name in ((5, "hidden", "h0"), (6, "cell", "c0")):
        if case[key] == "none" or (key == "cell" and kind != "LSTM"):
            continue
        names[place] = name
        if case[key] == "fixed":
            parameters[name] = activations(seed + place, directions, inputs, size)
        else:
            given_name = f"{name}_by_input"
            feeds[given_name] = activations(seed + place, inputs, directions, size)
            described[given_name] = ["n", directions, size]
            nodes.append(node("Transpose", [given_name], [name], perm=[1, 0, 2]))
    given_attributes: dict[str, Any] = {"hidden_size": size, "direction": case["direction"]}
    if kind == "GRU":
        given_attributes["linear_before_reset"] = case["after"]
    if kind == "RNN" and case["relu"]:
        given_attributes["activations"] = ["Relu", "Tanh"][:directions]
    outputs = list(case["outputs"])
    if kind != "LSTM":
        outputs = outputs[:2]
    if not any(outputs):
        outputs = ["y"]
    while names[-1] == "":
        names.pop()
    nodes.append(node(kind, names, [name and f"{name}_t" for name in outputs], **given_attributes))
    used = [name for name in outputs if name]
    for name in used:
        perm = [2, 0, 1, 3] if name == "y" else [1, 0, 2]
        nodes.append(node("Transpose", [f"{name}_t"], [name], perm=perm))
    made = model(nodes, described, used, parameters, opset=case["opset"])
    split = kind == "GRU" and not case["after"]
    parts = 3 if split else 2
    network, _ = checked(
        made,
        feeds,
        num_pes=case["num_pes"],
        kinds=[kind] * directions * parts,
        vectors=[steps] * directions * parts,
    )
    for name in ("w", "r"):
        layers = [k for k, layer in enumerate(network.layers) if layer.weight == name]
        stacked = np.concatenate([matrix_of(network, k)[0] for k in layers])
        np.testing.assert_array_equal(stacked, parameters[name].reshape(stacked.shape))
    moved = (
        1 + len(used) + sum(case[key] == "moving" and (key == "hidden" or kind == "LSTM") for key in ("hidden", "cell"))
    )
    assert {name: each.count for name, each in network.off_array.items()} == {"Transpose": moved}


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"activations": ["Sigmoid", "Relu", "Tanh"]}, "activations sigmoid, relu, tanh, which are not handled"),
        ({"clip": 1.0}, "clipped gates (clip), which are not handled"),
        ({"input_forget": 1}, "coupled gates (input_forget), which are not handled"),
    ],
)
def test_a_recurrent_layer_that_is_not_handled_is_refused(more: Any, sentence: str) -> None:
    parameters = {"w": drawn(0, 1, 12, 4), "r": drawn(1, 1, 12, 3)}
    made = model(
        [node("LSTM", ["x", "w", "r"], hidden_size=3, **more)], {"x": [2, 1, 4]}, parameters=parameters, opset=14
    )
    refused(made, {"x": activations(0, 2, 1, 4)}, sentence)


def test_peepholes_and_sequences_of_different_lengths_are_refused() -> None:
    parameters = {"w": drawn(0, 1, 12, 4), "r": drawn(1, 1, 12, 3), "p": drawn(2, 1, 9)}
    names = ["x", "w", "r", "", "", "", "", "p"]
    made = model([node("LSTM", names, hidden_size=3)], {"x": [2, 1, 4]}, parameters=parameters, opset=14)
    refused(made, {"x": activations(0, 2, 1, 4)}, "peephole weights, which are not handled")
    del parameters["p"]
    for given_by in ("parameter", "input"):
        feeds = {"x": activations(0, 3, 2, 4)}
        described: dict[str, Any] = {"x": [3, 2, 4]}
        values = dict(parameters)
        lengths = np.array([3, 2], dtype=np.int32)
        if given_by == "input":
            feeds["l"], described["l"] = lengths, [2]
        else:
            values["l"] = lengths
        made = model(
            [node("LSTM", ["x", "w", "r", "", "l"], hidden_size=3)],
            described,
            parameters=values,
            opset=14,
            types={"l": np.int32},
        )
        refused(made, feeds, "sequences of different lengths, which are not handled")


@pytest.mark.parametrize("activations_of", [["Relu", "Tanh"], ["Tanh", "Relu"], ["Relu", "Relu"]])
def test_each_direction_of_an_rnn_has_its_activation(activations_of: list[str]) -> None:
    parameters = {"w": drawn(0, 2, 3, 4), "r": drawn(1, 2, 3, 3)}
    made = model(
        [node("RNN", ["x", "w", "r"], hidden_size=3, direction="bidirectional", activations=activations_of)],
        {"x": [3, 2, 4]},
        parameters=parameters,
        opset=14,
    )
    checked(made, {"x": activations(0, 3, 2, 4)})


def test_bound_parameters_are_those_of_the_container() -> None:
    made = model([node("Gemm", ["x", "w"], transB=1)], {"x": ["n", 5]}, parameters={"w": drawn(0, 4, 5)})
    container = compressed(Network.open(made))
    again = type(container).from_bytes(container.to_bytes())
    np.testing.assert_array_equal(again.network.parameters["w"], Network.open(made).parameters["w"])
