"""Readers of containers, exports, checkpoints, plans and settings, with mutations that know their structure."""

from __future__ import annotations

import importlib.util
import io
import json
import pickletools
import struct
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from compress import CompressedModel, CompressionConfig
from compress.container.bytes_io import varint
from compress.container.layer_coding import CodingChoice
from compress.container.reader import ContainerReader
from compress.container.safetensors_file import export_safetensors, import_safetensors
from compress.container.sections import Section, decode_directory, encode_header
from compress.planning.confidence import Interval
from compress.planning.drift import InputSummary
from compress.planning.plan import Budget, Candidate, Choice, Plan, Tolerance
from compress.planning.watch_report import WatchReport
from compress.planning.weight_tolerances import WeightTolerances
from compress.weight_files.reading import read_parameters
from tests.compress.container.test_container import drawn_model, network_model
from tests.soak.layer_files import changed_npy
from tests.soak.mutants import HUGE_NUMBERS, Mutate, Reader, changed_bytes, changed_text
from tests.soak.onnx_files import changed_onnx, onnx_files
from tests.soak.zip_files import changed_zip
from traces import CompressedLayer, Inputs, write_npz

_BAD_VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2.5, 2.0, -0.0, 1e308, 10**20, 2**31, 2**53, 2**63, 10**400, float("nan"),
    float("inf"), -float("inf"), "7", "", "a", "a" * 5000, "\ud800", "..", "0,0,0", "1 2 3", "inf", "nan", [], [[]],
    [7], {}, {"a": 1}, {"": None},
)  # fmt: skip
_HEAD_BYTES = 18
_HUGE_CODES = 2**20  # codes up to which a mutant is decoded to values and written again


def changed_json(content: bytes, stream: np.random.Generator) -> bytes:
    """Return JSON with one value replaced by a bad one or by another, taken out, or given under another name."""
    try:
        root = [json.loads(content)]
    except (ValueError, RecursionError):  # it was damaged before
        return changed_text(content, stream)
    places = _places(root)
    holder, key = places[int(stream.integers(len(places)))]
    other_holder, other_key = places[int(stream.integers(len(places)))]
    way = stream.random()
    if way < 0.5:
        holder[key] = _BAD_VALUES[int(stream.integers(len(_BAD_VALUES)))]
    elif way < 0.65:
        holder[key] = json.loads(json.dumps(other_holder[other_key]))
    elif way < 0.8 and holder is not root:
        del holder[key]
    elif way < 0.9 and isinstance(holder, dict):
        holder[str(_BAD_VALUES[int(stream.integers(len(_BAD_VALUES)))])] = holder[key]
    elif isinstance(holder, list) and holder is not root:
        holder *= int(stream.integers(2, 100))
    else:
        return changed_text(content, stream)
    return json.dumps(root[0]).encode() if root else b""


def _places(root: list[Any]) -> list[tuple[Any, Any]]:
    """Return holder and key of all values below a list, itself excluded."""
    found: list[tuple[Any, Any]] = []
    waiting: list[Any] = [root]
    while waiting:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            found.append((holder, key))
            if isinstance(holder[key], dict | list):
                waiting.append(holder[key])
    return found


def changed_varint(content: bytes, stream: np.random.Generator) -> bytes:
    """Return bytes with the number in groups of 7 bits that begins somewhere, mostly near the start, replaced."""
    if not content:
        return content
    place = int(stream.integers(min(len(content), 40) if stream.random() < 0.7 else len(content)))
    end = place
    while end < len(content) - 1 and content[end] > 127:
        end += 1
    number = int(HUGE_NUMBERS[int(stream.integers(len(HUGE_NUMBERS)))]) % 2**63
    if stream.random() < 0.5:
        number = int(2 ** (stream.random() * 34))
    return content[:place] + varint(number) + content[end + 1 :]


def changed_container(content: bytes, stream: np.random.Generator) -> bytes:
    """Return a container with a section changed, copied, taken out, renamed or of another kind, checksums mended."""
    try:
        version, sections = container_sections(content)
    except Exception:  # it was damaged before
        return changed_bytes(content, stream)
    if not sections:
        return changed_bytes(content, stream)
    place, way = int(stream.integers(len(sections))), stream.random()
    section = sections[place]
    if way < 0.5:
        sections[place] = Section(section.kind, section.name, changed_varint(section.content, stream))
    elif way < 0.8:
        sections[place] = Section(section.kind, section.name, changed_bytes(section.content, stream))
    elif way < 0.85:
        sections = [
            Section(section.kind, f"{section.name}{i}", section.content) for i in range(stream.integers(2, 300))
        ]
    elif way < 0.9:
        sections[place] = Section(int(stream.integers(256)), section.name, section.content)
    elif way < 0.95:
        del sections[place]
    else:
        version = int(stream.integers(2, 5))
    return encode_header(sections, version) + b"".join(each.content for each in sections)


def container_sections(content: bytes) -> tuple[int, list[Section]]:
    """Return the version of a container and its sections, as it states them."""
    version, directory_bytes = struct.unpack("<HI", content[8:14])
    begin = _HEAD_BYTES + directory_bytes
    sections = []
    for kind, name, num_bytes, _ in decode_directory(content[_HEAD_BYTES:begin]):
        sections.append(Section(kind, name, content[begin : begin + num_bytes]))
        begin += num_bytes
    return version, sections


def _models() -> list[CompressedModel]:
    draw = np.random.default_rng(3)
    codes = np.where(draw.random((7, 40)) < 0.2, draw.integers(1, 512, (7, 40)), 0).astype(np.uint16)
    wide = CompressedLayer("wide", codes, np.linspace(0, 1, 512, dtype=np.float32), codes[:, 0].copy())
    codebook = np.array([0, 1.5], np.float32)
    sparse = CompressedLayer("sparse", np.eye(64, 200, 3, dtype=np.uint8), codebook, activation_threshold=0.25)
    choices = [CodingChoice(scan_order="interleaved", num_pes=5), CodingChoice(index_bits=2, scan_order="columns")]
    small = CompressedModel([wide, sparse], coding=choices, tensors={"scale": np.ones(3)})
    shared = np.array([[0, 1, 2, 3], [0, -1, 0.5, 4], [0, 7, 8, 9]], dtype=np.float32)
    own = [
        CompressedLayer(
            name,
            (codes % 4).astype(np.uint8),
            shared,
            row_codebooks=np.array(numbers, dtype=np.uint16),
            activation_threshold=threshold,
        )
        for name, numbers, threshold in (
            ("in turn", [0, 1, 2, 0, 1, 2, 0], 0.0),
            ("in any order", [2, 0, 0, 1, 2, 1, 0], 0.5),
        )
    ]
    several = CompressedModel(own, coding=choices)
    models = [drawn_model(), network_model().with_graph(b"graph " * 50), small, several]
    return [*models, *(model.coded(CodingChoice(coder="range")) for model in models)]


def _container_files() -> list[bytes]:
    return [model.to_bytes() for model in _models()]


def _read_container(path: Path) -> None:
    model = CompressedModel.load(path)
    with ContainerReader(path) as reader:
        for name in reader.names[:20]:
            reader.layer(name)
    _use_model(model)


def _use_model(model: CompressedModel) -> None:
    """Sum up what a model holds; write it again and read that, if it is small."""
    num_codes = sum(int(layer.codes.size) for layer in model.layers)
    sum(int(layer.codes.sum()) for layer in model.layers)
    for values in model.tensors.values():
        values.tobytes()
    if num_codes < _HUGE_CODES and len(model.layers) < 20:
        assert all(values.size for name, values in model.state().items() if name not in model.tensors)
        content = model.to_bytes()
        assert CompressedModel.from_bytes(content).to_bytes() == content


def _written(write: Callable[[Path], object], suffix: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"file{suffix}"
        write(path)
        return path.read_bytes()


def _export_files() -> list[bytes]:
    models = _models()[:4]
    return [_written(partial(export_safetensors, model=model), ".safetensors") for model in models]


def changed_safetensors(content: bytes, stream: np.random.Generator) -> bytes:
    """Return a safetensors file with its header or its metadata changed, the length of the header mended."""
    if len(content) < 8:
        return changed_bytes(content, stream)
    begin = 8 + struct.unpack("<Q", content[:8])[0]
    header, values = content[8:begin], content[begin:]
    way = stream.random()
    if way < 0.6:
        try:
            described = json.loads(header)
            metadata = described["__metadata__"]
            (name,) = metadata
            metadata[name] = changed_json(metadata[name].encode(), stream).decode(errors="surrogateescape")
            header = json.dumps(described).encode()
        except Exception:  # it has no metadata, or was damaged before
            header = changed_json(header, stream)
    elif way < 0.8:
        header = changed_json(header, stream)
    else:
        values = changed_bytes(values, stream)
    return struct.pack("<Q", len(header)) + header + values


def _weights() -> dict[str, np.ndarray[Any, Any]]:
    draw = np.random.default_rng(4)
    return {
        "fc.weight": draw.normal(size=(4, 6)).astype(np.float32),
        "fc.bias": np.array([0, -0.0, 1, 2], np.float32),
        "steps": np.array(7),
        "half": np.ones((2, 3), np.float16),
    }


def _weight_files(suffix: str) -> Callable[[], list[bytes]]:
    from compress.weight_files.writing import write_parameters

    return lambda: [_written(lambda path: write_parameters(path, _weights()), suffix)]


def _npz_weight_files() -> list[bytes]:
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=True, kind=np.array([None]), **_weights())
    return [*_weight_files(".npz")(), stream.getvalue()]


def _checkpoint_files() -> list[bytes]:
    import torch

    state = {name: torch.from_numpy(values) for name, values in _weights().items()}
    state["tied.weight"] = state["fc.weight"]
    state["sparse"] = torch.eye(3).to_sparse()
    state["brain"] = torch.ones(2, 2, dtype=torch.bfloat16)
    files = []
    for held, new in ((state, True), ({"model": state, "epoch": 3, "optimizer": {"lr": [0.1]}}, True), (state, False)):
        stream = io.BytesIO()
        torch.save(held, stream, _use_new_zipfile_serialization=new)
        files.append(stream.getvalue())
    return files


def changed_pickle(content: bytes, stream: np.random.Generator) -> bytes:
    """Return a pickle with a number or a text in it replaced; other bytes as `changed_bytes` does."""
    try:
        codes = [*pickletools.genops(content)]
    except Exception:  # no pickle, or damaged before
        return changed_bytes(content, stream)
    ends = [place for _, _, place in codes[1:]] + [len(content)]
    numbers = [
        (place, end) for (code, argument, place), end in zip(codes, ends, strict=True)
        if isinstance(argument, int) and code.name.startswith(("BININT", "LONG"))
    ]  # fmt: skip
    texts = [(place, end) for (code, _, place), end in zip(codes, ends, strict=True) if code.name == "BINUNICODE"]
    if numbers and stream.random() < 0.6:
        place, end = numbers[int(stream.integers(len(numbers)))]
        huge = int(HUGE_NUMBERS[int(stream.integers(len(HUGE_NUMBERS)))]) * (-1 if stream.random() < 0.2 else 1)
        encoded = huge.to_bytes(9, "little", signed=True)
        return content[:place] + b"\x8a\x09" + encoded + content[end:]
    if len(texts) > 1 and stream.random() < 0.6:
        (place, end), (begin, stop) = (texts[int(stream.integers(len(texts)))] for _ in range(2))
        return content[:place] + content[begin:stop] + content[end:]
    return changed_bytes(content, stream)


def _hdf5_files() -> list[bytes]:
    import h5py

    def write(path: Path, keras: bool) -> None:
        with h5py.File(path, "w") as file:
            group = file.create_group("model_weights") if keras else file
            for name, values in _weights().items():
                packed = values.ndim == 2 and {"compression": "gzip", "chunks": (2, 3)}
                group.create_dataset(name.replace(".", "/"), data=values, **(packed or {}))
            group.create_dataset("text", data="text")

    return [_written(partial(write, keras=keras), ".h5") for keras in (False, True)]


def _shard_files() -> list[bytes]:
    names = {"fc.weight": "one.npz", "fc.bias": "two.npz"}
    return [json.dumps({"metadata": {"total_size": 112}, "weight_map": names}).encode()]


def _read_shards(path: Path) -> None:
    for name in ("one.npz", "two.npz"):
        if not path.with_name(name).exists():
            write_npz(path.with_name(name), {name[:3]: np.ones((2, 3), np.float32)})
    _read_weights(path)


def _read_weights(path: Path) -> None:
    found = read_parameters(path)
    for values in found.values():
        np.ascontiguousarray(values).tobytes()
    assert all(isinstance(reason, str) for reason in found.left_out.values())


def _config() -> CompressionConfig:
    return CompressionConfig.from_dict(
        {
            "every": {"density": 0.2, "scan_order": "interleaved", "num_pes": 8, "activation_threshold": 0.5},
            "types": {"Conv2d": {"weight_bits": 6, "share_bias": False}},
            "layers": {"fc3": {"density": 1, "initialisation": "random", "codebook_bits": 16, "index_bits": 5}},
            "sharing": "joint",
            "reassign_every": 2,
            "seed": 7,
        }
    )


def _read_config(path: Path) -> None:
    config = CompressionConfig.load(path)
    settings = config.settings_of("fc3", "Conv2d")
    assert 0 < settings.density <= 1
    assert CompressionConfig.from_dict(config.to_dict()) == config
    assert CompressionConfig.from_json(config.to_json()).to_json() == config.to_json()


def _plan() -> Plan:
    inputs = Inputs({"x": np.random.default_rng(5).normal(size=(30, 6)), "ids": np.arange(30).reshape(30, 1) % 4})
    candidate = Candidate(Choice(0.1, 4), 0.25, {"file_bytes": 100, "latency_us": 1.5})
    return Plan(
        {"fc1": candidate, "fc2": candidate},
        Tolerance(0.01, "kl"),
        Budget(file_bytes=300, num_pes=4, sram_bytes_per_pe=100),
        0.5,
        0.004,
        {"file_bytes": 200, "latency_us": 3.0, "sram_bytes_per_pe": 80},
        measured=0.005,
        standard_error=0.001,
        limit=0.006,
        confidence=0.99,
        feasible=True,
        binding=("tolerance",),
        nearest={"latency_us": float("inf")},
        inputs=(1, 5),
        logarithms=("probabilities",),
        reason="the outputs are probabilities",
        notes=("a note",),
        input_summary=InputSummary.of(inputs),
    )


def _read_plan(path: Path) -> None:
    plan = Plan.load(path)
    assert plan.excess > -1
    assert all(row["layer"] in plan.choices for row in plan.rows)
    again = Plan.from_json(plan.to_json())
    assert again.to_json() == plan.to_json()
    if plan.input_summary is not None:
        len(plan.input_summary.arrays)


def _watch_files() -> list[bytes]:
    draw = np.random.default_rng(6)
    first, later = (Inputs({"x": draw.normal(size=(40, 6)) + shift}) for shift in (0, 1))
    drifts = tuple(InputSummary.of(first).compare(later))
    report = WatchReport(
        Tolerance(0.1, "kl"), "reason", np.array([0.05, 0.0, 0.2]), Interval(0.08, 0.01, 0.3),
        {"cosine": Interval(0.1, 0.0, 0.2)}, {"entropy": 4.0, "largest": float("inf")}, drifts, drifts,
        _plan().rows, {"measured": 0.01, "predicted": 0.02}, "mine.dc", "mine.onnx",
    )  # fmt: skip
    return [report.to_json().encode()]


def _read_watch(path: Path) -> None:
    report = WatchReport.load(path)
    report.worst(3)
    assert report.drifting is not None
    assert all(len(drift.medians) == 2 and drift.difference >= 0 for drift in report.drifting_inputs)
    assert WatchReport.from_json(report.to_json()).to_json() == report.to_json()


def _tolerance_files() -> list[bytes]:
    weights = {name: np.random.default_rng(8).normal(size=(5, 7)) for name in ("fc1", "fc2")}
    ranges = {name: 0.5 * np.abs(values) + 0.1 for name, values in weights.items()}
    return [WeightTolerances.of(Tolerance(0.1, "kl"), weights, ranges).to_json().encode()]


def _read_tolerances(path: Path) -> None:
    found = WeightTolerances.load(path)
    for layer in found.layers:
        counts = np.zeros((len(found.magnitude_edges) - 1, len(found.tolerance_edges) - 1))
        for x, y, count in layer.counts:
            counts[x, y] += count
    assert WeightTolerances.from_json(found.to_json()) == found


_CHANGED_PICKLES: list[Mutate] = [changed_zip(changed_pickle), changed_zip(changed_pickle), changed_pickle]
_CHANGED_JSON: list[Mutate] = [changed_json, changed_json, changed_text]

READERS: list[Reader] = [
    Reader(
        "container", ".dc", _container_files, [changed_container, changed_container, changed_bytes], _read_container
    ),
    Reader(
        "export",
        ".safetensors",
        _export_files,
        [changed_safetensors, changed_safetensors, changed_bytes],
        lambda path: _use_model(import_safetensors(path)),
    ),
    Reader(
        "safetensors",
        ".safetensors",
        _weight_files(".safetensors"),
        [changed_safetensors, changed_bytes],
        _read_weights,
    ),
    Reader("npz-weights", ".npz", _npz_weight_files, [changed_zip(changed_npy), changed_bytes], _read_weights),
    Reader("checkpoint", ".pt", _checkpoint_files, _CHANGED_PICKLES, _read_weights),
    Reader("onnx-weights", ".onnx", onnx_files, [changed_onnx, changed_onnx, changed_bytes], _read_weights),
    Reader("shards", ".index.json", _shard_files, _CHANGED_JSON, _read_shards),
    Reader("config-json", ".json", lambda: [_config().to_json().encode()], _CHANGED_JSON, _read_config),
    Reader("config-toml", ".toml", lambda: [_config().to_toml().encode()], [changed_text], _read_config),
    Reader("plan", ".json", lambda: [_plan().to_json().encode()], _CHANGED_JSON, _read_plan),
    Reader("watch", ".json", _watch_files, _CHANGED_JSON, _read_watch),
    Reader("tolerances", ".json", _tolerance_files, _CHANGED_JSON, _read_tolerances),
]
if importlib.util.find_spec("h5py") is not None:
    READERS.append(Reader("hdf5", ".h5", _hdf5_files, [changed_bytes], _read_weights))
