"""Export to safetensors files, and import."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from compress import CompressedModel
from compress.container.layer_coding import CodingChoice
from tests.compress.container.test_container import assert_same, drawn_model, network_model, several_codebooks_model
from tests.layers import Case, cases
from traces import CompressedLayer, InputError

safetensors = pytest.importorskip("safetensors", reason="needs the extra 'safetensors'")
numpy_files = pytest.importorskip("safetensors.numpy")

from compress.container.safetensors_file import export_safetensors, import_safetensors  # noqa: E402


def test_a_model_is_read_back(tmp_path: Path) -> None:
    model = drawn_model()
    export_safetensors(tmp_path / "model.safetensors", model)
    assert_same(import_safetensors(tmp_path / "model.safetensors"), model)
    arrays = numpy_files.load_file(tmp_path / "model.safetensors")
    assert {"conv.codes", "conv.gaps", "conv.pointers", "conv.codebook", "fc.bias", "bn.weight"} <= set(arrays)
    assert arrays["fc.pointers"].shape == (31,)


@settings(deadline=None, max_examples=50)
@given(cases())
def test_odd_layers_are_read_back(tmp_path_factory: Any, case: Case) -> None:
    path = tmp_path_factory.mktemp("export") / "model.safetensors"
    model = CompressedModel([case[0]])
    export_safetensors(path, model)
    assert_same(import_safetensors(path), model)


def free_and_shared_biases() -> CompressedModel:
    """Return four layers: bias in the codebook, free, none, and with a name unlike its layer's."""
    codebook = np.array([0, 0.5, -1, 2.25], dtype=np.float32)
    codes = np.array([[1, 0, 3], [0, 2, 0]], dtype=np.uint8)
    bias = np.array([3, 0], dtype=np.uint8)
    layers = [CompressedLayer(name, codes, codebook, bias if name in "ad" else None) for name in "abcd"]
    tensors = {"b.bias": np.array([1, 2.5]), "bn.weight": np.array([0.1, 0.7]), "bn.running_var": np.ones(2)}
    return CompressedModel(
        layers, bias_names=["a.bias", "b.bias", "c.bias", "d.own"], tensors=tensors, buffers=["bn.running_var"]
    )


def test_a_free_bias_of_the_name_of_a_shared_one_stays_free(tmp_path: Path) -> None:
    model = free_and_shared_biases()
    export_safetensors(tmp_path / "model.safetensors", model)
    found = import_safetensors(tmp_path / "model.safetensors")
    assert_same(found, model)
    assert [layer.bias is None for layer in found.layers] == [False, True, True, False]
    np.testing.assert_array_equal(found.tensors["b.bias"], np.array([1, 2.5], dtype=np.float32))


@pytest.mark.parametrize(
    "coding", [CodingChoice(), CodingChoice(7, "columns"), CodingChoice(num_pes=3, scan_order="interleaved")], ids=str
)
def test_what_is_exported_and_imported_makes_the_same_container_byte_for_byte(
    coding: CodingChoice, tmp_path: Path
) -> None:
    for model in (drawn_model(), free_and_shared_biases(), network_model(), several_codebooks_model()):
        content = model.coded(coding).to_bytes()
        export_safetensors(tmp_path / "model.safetensors", CompressedModel.from_bytes(content))
        assert import_safetensors(tmp_path / "model.safetensors").to_bytes() == content


def test_what_is_no_export_gets_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(InputError, match="there is no such file"):
        import_safetensors(path)
    path.write_bytes(b"text")
    with pytest.raises(InputError, match="must be a whole safetensors file"):
        import_safetensors(path)
    header = json.dumps({"x": {"dtype": "F32", "shape": [1] * 80, "data_offsets": [0, 4]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(InputError, match="must be a whole safetensors file: maximum supported dimension"):
        import_safetensors(path)
    numpy_files.save_file({"x": np.ones(3)}, path)
    with pytest.raises(InputError, match="holds no metadata 'eie-codesign'"):
        import_safetensors(path)
    export_safetensors(path, drawn_model())
    arrays = numpy_files.load_file(path)
    with safetensors.safe_open(path, "numpy") as file:
        metadata = file.metadata()
    damages = {
        "conv.codes": (None, "'conv.codes' is missing"),
        "conv.pointers": (arrays["conv.pointers"][:-1], "pointers must be int32 \\[10\\]"),
        "conv.gaps": (arrays["conv.gaps"] + np.uint8(200), "an entry lies in row"),
        "fc.codebook": (np.ones(16, dtype=np.float32), "codebook entry 0"),
        "fc.codes": (arrays["fc.codes"].astype(np.int32), "codes must be uint8 or uint16"),
    }
    for name, (values, sentence) in damages.items():
        changed = {key: kept for key, kept in arrays.items() if key != name}
        numpy_files.save_file(changed if values is None else {**changed, name: values}, path, metadata)
        with pytest.raises(InputError, match=sentence):
            import_safetensors(path)
    described = json.loads(metadata["eie-codesign"])
    for key, value, sentence in (
        ("has_bias", True, "'conv.bias' is missing"),
        ("weight_names", "conv.weight", "weight_names must be a list; found"),
        ("bias_name", 3, "bias_name must be text, not empty; found 3"),
        ("shape", [6.5, 9], "shape must be a whole number of at least 1; found 6.5"),
        ("shape", [-6, -9], "shape must be a whole number of at least 1; found -6"),
        ("shape", 6, "is no valid export"),
        ("coding", {"index_bits": 9}, "index_bits must be a whole number from 1 to 8; found 9"),
        ("coding", {"width": 9}, "is no valid export"),
        ("name", "cone", "'cone.codes' is missing"),
    ):
        first = {**described["layers"][0], key: value}
        changed = {**described, "layers": [first, *described["layers"][1:]]}
        numpy_files.save_file(arrays, path, {"eie-codesign": json.dumps(changed)})
        with pytest.raises(InputError, match=sentence):
            import_safetensors(path)
    for key in described["layers"][0]:
        changed = {**described, "layers": [{k: v for k, v in described["layers"][0].items() if k != key}]}
        numpy_files.save_file(arrays, path, {"eie-codesign": json.dumps(changed)})
        with pytest.raises(InputError, match=f"is no valid export: a layer must have {key}; found"):
            import_safetensors(path)
    numpy_files.save_file(arrays, path, {"eie-codesign": "[]"})
    with pytest.raises(InputError, match="is no valid export"):
        import_safetensors(path)
    export_safetensors(path, network_model())
    arrays = numpy_files.load_file(path)
    with safetensors.safe_open(path, "numpy") as file:
        metadata = file.metadata()
    assert arrays["eie-codesign.graph"].tobytes() == network_model().graph
    arrays["eie-codesign.graph"] = arrays["eie-codesign.graph"].astype(np.int64)
    numpy_files.save_file(arrays, path, metadata)
    with pytest.raises(InputError, match=r"eie-codesign\.graph must be uint8 \[bytes\]; found int64"):
        import_safetensors(path)
    described = json.loads(metadata["eie-codesign"])
    described["layers"][0]["arrangement"]["axes"] = [0, 0]
    numpy_files.save_file(arrays, path, {"eie-codesign": json.dumps(described)})
    with pytest.raises(InputError, match="axes must name each of the 2 axes of view once"):
        import_safetensors(path)
    for tensor in ("conv.codes", "eie-codesign.graph"):
        clash = CompressedModel(drawn_model().layers, tensors={tensor: np.ones(2)}, graph=b"graph")
        with pytest.raises(InputError, match=f"{tensor} would be there twice"):
            export_safetensors(path, clash)
