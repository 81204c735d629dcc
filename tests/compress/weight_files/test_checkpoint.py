"""Checkpoints of PyTorch: state dicts wherever they lie, tied tensors, and what is no tensor."""

from __future__ import annotations

import argparse
import collections
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

from compress import compress_parameters, read_parameters  # noqa: E402
from compress.weight_files.checkpoint import state_of  # noqa: E402
from traces import InputError  # noqa: E402


def state() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(5, 6)).state_dict()


def saved(folder: Path, content: Any, name: str = "net.pt", **options: Any) -> Path:
    torch.save(content, folder / name, **options)
    return folder / name


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("suffix", [".pt", ".PT", ".pth", ".bin", ".ckpt", ".pth.tar", ".npz", ".onnx", ""])
def test_a_state_dict_is_read_whatever_its_suffix(suffix: str, new: bool, tmp_path: Path) -> None:
    found = read_parameters(saved(tmp_path, state(), f"net{suffix}", _use_new_zipfile_serialization=new))
    assert {name: values.shape for name, values in found.items()} == {"0.weight": (6, 5), "0.bias": (6,)}
    np.testing.assert_array_equal(found["0.weight"], state()["0.weight"].numpy())


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "module", "net"])
def test_the_only_state_dict_of_a_checkpoint_is_taken_and_named(key: str, tmp_path: Path) -> None:
    optimiser = {"state": {0: {"exp_avg": torch.ones(6, 5)}}, "param_groups": [{"lr": 0.1}]}
    content = {key: state(), "epoch": 3, "step": torch.tensor(7), "optimizer": optimiser, "best": np.float64(0.9)}
    found = read_parameters(saved(tmp_path, {**content, "args": argparse.Namespace(lr=0.1)}))
    assert list(found) == ["0.weight", "0.bias"]
    assert found.notes == (f"The state dict is the checkpoint's {key!r}.",)


def test_one_of_several_state_dicts_is_read_by_its_key(tmp_path: Path) -> None:
    path = saved(tmp_path, {"model": {"ema": state(), "raw.1": {"x.weight": torch.ones(2, 3)}}, "epoch": 1})
    with pytest.raises(
        InputError, match=r"key must name the state dict to read; found them at 'model\.ema', 'model\.ra"
    ):
        read_parameters(path)
    assert list(read_parameters(path, "model.ema")) == ["0.weight", "0.bias"]
    assert list(read_parameters(path, "model.raw.1")) == ["x.weight"]
    for wrong in ("", "model", "model.emb", "epoch"):
        with pytest.raises(
            InputError, match=f"key must lead to a state dict; found '{wrong}'; the state dicts are at 'mo"
        ):
            read_parameters(path, wrong)
    path = saved(tmp_path, {"teacher": state()})
    with pytest.raises(InputError, match=r"found them at 'teacher'; give key='teacher'"):
        read_parameters(path)  # it may be another network than the one that is meant
    path = saved(tmp_path, {**state(), "ema": state()})
    with pytest.raises(InputError, match=r"found them at '' \(the top level\), 'ema'"):
        read_parameters(path)
    found = read_parameters(path, "")
    assert found.left_out == {"ema": "OrderedDict, no tensor"}


def test_the_prefix_model_is_taken_away_from_checkpoints_of_lightning_alone(tmp_path: Path) -> None:
    content = {"state_dict": {f"model.{name}": values for name, values in state().items()}, "epoch": 1}
    assert list(read_parameters(saved(tmp_path, content))) == ["model.0.weight", "model.0.bias"]
    found = read_parameters(saved(tmp_path, content | {"pytorch-lightning_version": "2.4"}))
    assert list(found) == ["0.weight", "0.bias"]
    assert found.notes[1] == "The prefix 'model.', which every name carries, is taken away."


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn])
def test_floating_point_values_of_any_type_are_read_exactly(dtype: Any, tmp_path: Path) -> None:
    weights = torch.randn(6, 4).to(dtype)
    found = read_parameters(saved(tmp_path, {"fc.weight": torch.nn.Parameter(weights, requires_grad=False)}))
    np.testing.assert_array_equal(found["fc.weight"].astype(np.float64), weights.double().numpy())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tied_tensors_are_one_array_and_equal_ones_are_two(dtype: Any, tmp_path: Path) -> None:
    tied = torch.randn(6, 4).to(dtype)
    content = {"a.weight": tied, "b.weight": tied, "c.weight": tied.clone(), "d.weight": tied[:3], "e.weight": tied.T}
    found = read_parameters(saved(tmp_path, content))
    model, _ = compress_parameters(found)
    assert model.weight_names == (("a.weight", "b.weight"), ("c.weight",), ("d.weight",), ("e.weight",))
    assert model.parameter_bytes == 4 * (24 + 24 + 12 + 24)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_is_no_tensor_of_real_numbers_is_left_out_by_name(tmp_path: Path) -> None:
    content = {
        **state(),
        "0._extra_state": {"version": 1, "scale": torch.ones(2, 2)},
        "sparse.weight": torch.eye(3).to_sparse(),
        "quantised.weight": torch.quantize_per_tensor(torch.ones(3, 3), 0.1, 0, torch.qint8),
        "wave.weight": torch.ones(2, 2) * 1j,
        "absent.weight": torch.ones(2, 2, device="meta"),
        "mask": torch.ones(3, dtype=torch.bool),
    }
    found = read_parameters(saved(tmp_path, content))
    assert list(found) == ["0.weight", "0.bias", "mask"]
    assert found.left_out == {
        "0._extra_state": "dict, no tensor",
        "sparse.weight": "a sparse or nested tensor; give it as a dense one (to_dense)",
        "quantised.weight": "a quantised tensor; give the network before it was quantised",
        "wave.weight": "complex64 values, which are no real numbers",
        "absent.weight": "a tensor without values (device meta)",
    }


class Attack:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_no_code_of_a_checkpoint_is_run(tmp_path: Path) -> None:
    path = saved(tmp_path, {"model": state(), "more": Attack(tmp_path / "made")})
    with pytest.raises(
        InputError, match=r"must hold tensors only; found a pickled posix\.mkdir, which needs code to be"
    ):
        read_parameters(path)
    assert not (tmp_path / "made").exists()
    for module in (torch.nn.Sequential(torch.nn.Linear(2, 3)), {"model": torch.nn.Sequential(), "epoch": 1}):
        with pytest.raises(InputError, match=r"pickled torch\.nn\.modules\.container\.Sequential.*module\.state_dict"):
            read_parameters(saved(tmp_path, module))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([1, 2], "must hold a state dict, names to tensors; found list"),
        ({}, "found a dict of nothing"),
        ({"epoch": 3}, "found a dict of 'epoch'"),
        ({3: torch.ones(6, 4)}, "must be a state dict, names to tensors; found a name that is no text: int"),
        (
            {"w.weight": torch.ones(1).expand(10**6, 10**6)},
            "'w.weight' must hold at most 1,073,741,824 values; found 1,0",
        ),
    ],
    ids=["list", "empty", "no tensor", "numbers as names", "huge"],
)
def test_what_holds_no_state_dict_is_refused(content: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=sentence):
        read_parameters(saved(tmp_path, content))


def test_a_checkpoint_that_holds_itself_is_read(tmp_path: Path) -> None:
    content: dict[str, Any] = {"model": state()}
    content["self"] = content
    assert list(read_parameters(saved(tmp_path, content))) == ["0.weight", "0.bias"]


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_a_damaged_checkpoint_is_refused(new: bool, tmp_path: Path) -> None:
    content = saved(tmp_path, state(), _use_new_zipfile_serialization=new).read_bytes()
    for length in range(0, len(content) - 1, 61):
        (tmp_path / "net.pt").write_bytes(content[:length])
        with pytest.raises(InputError, match=r"net\.pt: "):
            read_parameters(tmp_path / "net.pt")


def test_a_weight_that_does_not_fit_its_checksum_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, state())
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("net/data/0")
    value = content.find(state()["0.weight"].numpy().tobytes()[:16], entry.header_offset)
    content[value] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        InputError, match="net/data/0 in it does not fit its checksum: the file is damaged; copy it again"
    ):
        read_parameters(path)


def test_a_module_gives_its_parameters_with_ties_and_buffers() -> None:
    module: Any = torch.nn.Sequential(
        collections.OrderedDict(a=torch.nn.Linear(4, 4), b=torch.nn.Linear(4, 4, bias=False), n=torch.nn.BatchNorm1d(4))
    )
    module.b.weight = module.a.weight
    module.n.register_buffer("scale", torch.ones(3, 3))
    found = state_of(module)
    assert found["a.weight"] is found["b.weight"]
    assert found.buffers == {"n.running_mean", "n.running_var", "n.num_batches_tracked", "n.scale"}
    model, left_alone = compress_parameters(found)
    assert model.weight_names == (("a.weight", "b.weight"),)
    assert left_alone["n.scale"] == "a buffer"
    assert model.buffers == found.buffers
