"""Export to safetensors files, and import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from compress import CompressedModel
from tests.layers import Case, cases
from tests.test_container import assert_same, drawn_model
from traces import InputError

safetensors = pytest.importorskip("safetensors", reason="needs the extra 'safetensors'")
numpy_files = pytest.importorskip("safetensors.numpy")

from compress.safetensors_file import export_safetensors, import_safetensors  # noqa: E402


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


def test_what_is_no_export_gets_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(InputError, match="there is no such file"):
        import_safetensors(path)
    path.write_bytes(b"text")
    with pytest.raises(InputError, match="must be a whole safetensors file"):
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
        "conv.pointers": (arrays["conv.pointers"][:-1], "pointers must rise from 0 to"),
        "conv.gaps": (arrays["conv.gaps"] + np.uint8(200), "an entry lies in row"),
        "fc.codebook": (np.ones(16, dtype=np.float32), "codebook entry 0"),
        "fc.codes": (arrays["fc.codes"].astype(np.int32), "codes must be uint8 or uint16"),
    }
    for name, (values, sentence) in damages.items():
        changed = {key: kept for key, kept in arrays.items() if key != name}
        numpy_files.save_file(changed if values is None else {**changed, name: values}, path, metadata)
        with pytest.raises(InputError, match=sentence):
            import_safetensors(path)
    numpy_files.save_file(arrays, path, {"eie-codesign": "[]"})
    with pytest.raises(InputError, match="holds what no export does"):
        import_safetensors(path)
    clash = CompressedModel(drawn_model().layers, tensors={"conv.codes": np.ones(2)})
    with pytest.raises(InputError, match=r"conv\.codes would be there twice"):
        export_safetensors(path, clash)
