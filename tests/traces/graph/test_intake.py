"""ONNX files as networks: what is refused, and by which name."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from sim import ArrayConfig, simulate_network
from tests.traces.graph.graphs import activations, close, compressed, drawn, model, node, run, value
from traces import InputError, Network

X: dict[str, Any] = {"x": ["n", 4]}
ARRAY = ArrayConfig(num_pes=2, weight_bits=8)
GEMM = [node("Gemm", ["x", "w", "b"], transB=1)]
PARAMETERS = {"w": drawn(0, 30, 4), "b": drawn(1, 30)}


def described() -> Any:
    """Return a model whose output has a shape, which files need."""
    made = model(GEMM, X, parameters=PARAMETERS)
    made.graph.output[0].CopyFrom(value("y", ["n", 30]))
    return made


@pytest.mark.parametrize("external", [False, True])
def test_a_file_is_opened_with_its_data_beside_it(external: bool, tmp_path: Path) -> None:
    made, path = described(), tmp_path / "net.onnx"
    onnx.save_model(made, str(path), save_as_external_data=external, location="net.data", size_threshold=0)
    network = Network.open(path)
    x = activations(0, 3, 4)
    expected = run(model(GEMM, X, parameters=PARAMETERS), {"x": x})[0]
    close(simulate_network(compressed(network), x, ARRAY).output, expected)
    if external:
        (tmp_path / "net.data").unlink()
        with pytest.raises(InputError, match=r"net\.onnx: the external data .net\.data. must be a file"):
            Network.open(path)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    content = described().SerializeToString()
    path = tmp_path / "net.onnx"
    stream = np.random.default_rng(0)
    opened = 0
    cases = [content[:length] for length in range(0, len(content), 37)] + [b"text", b"\xff" * 99]
    for _ in range(60):
        changed = bytearray(content)
        for place in stream.integers(0, len(content), 3):
            changed[place] = stream.integers(0, 256)
        cases.append(bytes(changed))
    for case in cases:
        path.write_bytes(case)
        with contextlib.suppress(InputError):  # any other error is a failure
            _ = Network.open(path).layers
            opened += 1
    assert 5 < opened < 60  # where a value of a weight changed


def sparse() -> Any:
    made = model([node("Gemm", ["x", "w"], transB=1)], X)
    values = numpy_helper.from_array(np.ones(2, dtype=np.float32), "w")
    places = numpy_helper.from_array(np.array([1, 5]), "w_places")
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [3, 4]))
    return made


def quantised(kind: str) -> Any:
    whole = np.random.default_rng(0).integers(-5, 5, (4, 3)).astype(np.int8)
    scale, zero = np.array(0.5, dtype=np.float32), np.array(0, dtype=np.int8)
    parameters = {"w": whole, "s": scale, "z": zero}
    if kind == "MatMulInteger":
        nodes = [node(kind, ["x", "w"])]
    elif kind == "QLinearMatMul":
        nodes = [node(kind, ["x", "s", "z", "w", "s", "z", "s", "z"])]
    elif kind == "ConvInteger":
        parameters["w"] = whole.reshape(3, 4, 1)
        nodes = [node(kind, ["x", "w"])]
    else:
        parameters["w"] = whole.reshape(3, 4, 1)
        nodes = [node(kind, ["x", "s", "z", "w", "s", "z", "s", "z"])]
    shape: list[Any] = ["n", 4, 5] if "Conv" in kind else ["n", 4]
    return model(
        nodes,
        {"x": shape},
        parameters=parameters,
        types={"x": np.int8, "y": np.int32 if "Integer" in kind else np.int8},
    )


def sequence_input() -> Any:
    made = model(
        [node("SequenceAt", ["s", "i"], ["e"]), node("MatMul", ["e", "w"])],
        X,
        parameters={"w": drawn(0, 4, 3), "i": np.array(0)},
    )
    del made.graph.input[:]
    made.graph.input.append(helper.make_tensor_sequence_value_info("s", 1, None))
    return made


def sequence_output() -> Any:
    made = model(
        [node("MatMul", ["x", "w"], ["p"]), node("SequenceConstruct", ["p"])], X, parameters={"w": PARAMETERS["w"].T}
    )
    made.graph.output[0].CopyFrom(helper.make_tensor_sequence_value_info("y", 1, None))
    return made


REFUSED: dict[str, tuple[Any, str]] = {
    "sequence that leaves": (sequence_output, "output 'y' must be a tensor; found sequence_type"),
    "sparse": (sparse, "a network's weights must be dense; found sparse initialisers, which are not handled"),
    "sequence": (sequence_input, "input 's' must be a tensor; found sequence_type"),
    "own domain": (
        lambda: model([node("Own", ["x", "w"], domain="mine")], X, parameters={"w": drawn(0, 4, 3)}),
        "Own (y) of domain 'mine': its product with w is not handled; export the network with standard operators",
    ),
    "fused": (
        lambda: model([node("FusedMatMul", ["x", "w"], domain="com.microsoft")], X, parameters={"w": drawn(0, 4, 3)}),
        "FusedMatMul (y) of domain 'com.microsoft': its product with w is not handled",
    ),
    "random": (
        lambda: model(
            [node("RandomNormalLike", ["x"], ["r"]), node("MatMul", ["r", "w"])], X, parameters={"w": drawn(0, 4, 3)}
        ),
        "RandomNormalLike (r): random values, which are not handled; export the network for inference",
    ),
    "dropout": (
        lambda: model(
            [node("Dropout", ["x", "rate", "training"], ["r"]), node("MatMul", ["r", "w"])],
            X,
            parameters={"w": drawn(0, 4, 3), "rate": np.array(0.5, dtype=np.float32), "training": np.array(True)},
        ),
        "Dropout (r): random values, which are not handled; export the network for inference",
    ),
    "bias by input": (
        lambda: model(
            [node("Conv", ["x", "w", "b"])], {"x": ["n", 2, 5], "b": [3]}, parameters={"w": drawn(0, 3, 2, 3)}
        ),
        "Conv (y): a bias that depends on the input, which is not handled",
    ),
    **{
        kind: (
            lambda kind=kind: quantised(kind),
            f"{kind} (y): this operator is not handled; give the network before it",
        )
        for kind in ("MatMulInteger", "QLinearMatMul", "ConvInteger", "QLinearConv")
    },
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_handled_is_refused_by_name(kind: str) -> None:
    make, sentence = REFUSED[kind]
    with pytest.raises(InputError, match=re.escape(sentence)):
        _ = Network.open(make()).layers


def test_dropout_for_inference_does_nothing() -> None:
    nodes = [node("Dropout", ["x"], ["r"]), node("MatMul", ["r", "w"])]
    made = model(nodes, X, parameters={"w": drawn(0, 4, 3)})
    x = activations(0, 2, 4)
    close(simulate_network(compressed(Network.open(made)), x, ARRAY).output, run(made, {"x": x})[0])


def test_operators_that_onnx_runtime_lacks_are_refused_when_they_run() -> None:
    made = model(
        [node("Own", ["x"], ["r"], domain="mine"), node("MatMul", ["r", "w"])], X, parameters={"w": drawn(0, 4, 3)}
    )
    network = Network.open(made)
    with pytest.raises(InputError, match=r"ONNX Runtime cannot run the network: .*Own"):
        network.run(activations(0, 2, 4))
