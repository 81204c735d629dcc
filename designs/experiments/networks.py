"""Real networks from the shell: packed, measured, planned, simulated, designed together with an array, reported.

Each step is a command, run as a user runs it; its seconds and what it printed are kept. The table's figures are those
of the planned container on the paper's array. Networks whose data are absent are left out.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compress import CompressedModel
from designs.result_files import NETWORK_STEPS, NETWORKS_COLUMNS, NETWORKS_FILE
from designs.results import provenance, read_results, table_of, write_results
from designs.stages import Stages
from sim import ArrayConfig, simulate_network
from traces import InputError, Network, read_net
from traces.arrays import Numbers
from traces.files.atomic_file import write_atomically
from traces.files.images import load_digits, load_idx_folder
from traces.files.npz import read_npz, write_npy, write_npz
from traces.plain_values import whole_number
from traces.shell.progress import progress_bar

_ARRAY = ArrayConfig(num_pes=64, weight_bits=8)
_SPACE = """[hardware]
num_pes = [4, 16, 64]
queue_slots = [2, 8]
line_bits = [32, 64, 128]
weight_bits = [3, 4, 5, 6]
"""
_MODULES = "designs.experiments.example_networks"


@dataclass(frozen=True)
class Example:
    """One network of the table.

    Attributes
    ----------
    network : str
        NETWORK as the commands take it.
    inputs : array, or mapping of str to array
        Inputs to plan on and to simulate.
    tolerance : tuple of str
        Option of the tolerance of its plan, and its value.
    labels : array or None
        Labels of the inputs.
    weights : mapping of str to array, or None
        Parameters of a module.
    sequence : mapping of str to array, or None
        Inputs to simulate instead: steps whose state is fed on.
    state : tuple of str
        Inputs and outputs that are the state, in pairs.
    """

    network: str
    inputs: Any
    tolerance: tuple[str, str]
    labels: Numbers | None = None
    weights: Mapping[str, Numbers] | None = None
    sequence: Mapping[str, Numbers] | None = None
    state: tuple[str, ...] = ()


def run_networks(data: Path | None, folder: Path, names: tuple[str, ...] = (), trials: int = 60) -> Path:
    """Run all steps of each network, and write the table's figures.

    A network is not run again if its figures are there as they were written; an interrupted co-design goes on.

    Parameters
    ----------
    data : Path, optional
        Folder of models and images; without it, only the networks trained here on the digits are run.
    folder : Path
        Folder of the results; each network has a folder of its own.
    names : tuple of str
        Networks to run; all by default.
    trials : int
        Designs that each co-design tries.

    Raises
    ------
    InputError
        If a name is unknown or its data are absent, or a step fails.
    """
    makers, trials = _makers(data), whole_number("trials", trials, 1)
    unknown = sorted(set(names) - set(makers))
    if unknown:
        raise InputError(
            f"networks must be some of {', '.join(makers)}, whose data are here; found {', '.join(unknown)}"
        )
    chosen = names or tuple(makers)
    with progress_bar("networks", len(chosen)) as advance:
        for name in chosen:
            origin = {"network": name, "trials": trials}

            def measure(path: Path, name: str = name, origin: Mapping[str, Any] = origin) -> None:
                row = _run(name, makers[name](path.parent), path.parent, trials)
                write_results(path, table_of(NETWORKS_COLUMNS, [row]), provenance(origin))

            with Stages(folder / name) as stages:
                stages.run(NETWORKS_FILE, origin, measure)
            advance()
    files = sorted(folder.glob(f"*/{NETWORKS_FILE}"))
    rows = [read_results(path, NETWORKS_COLUMNS)[0].to_pylist()[0] for path in files]
    write_results(folder / NETWORKS_FILE, table_of(NETWORKS_COLUMNS, rows), provenance({"trials": trials}))
    return folder / NETWORKS_FILE


def _run(name: str, example: Example, folder: Path, trials: int) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    inputs = _written(folder / "inputs", example.inputs)
    sequence = inputs if example.sequence is None else _written(folder / "sequence", example.sequence)
    weights: list[str] = []
    if example.weights is not None:
        write_npz(folder / "weights.npz", dict(example.weights))
        weights = ["--weights", "weights.npz"]
    labels: list[str] = []
    if example.labels is not None:
        write_npy(folder / "labels.npy", np.asarray(example.labels, dtype=np.int64))
        labels = ["--labels", "labels.npy"]
    write_atomically(folder / "space.toml", _SPACE.encode())
    traced = ["--inputs", inputs] if ":" in example.network else []
    state = ["--state", *example.state] if example.state else []
    codesign = ["codesign", "space.toml", "--network", example.network, "--inputs", inputs, *weights, *labels]
    paper = ["--num-pes", str(_ARRAY.num_pes), "--weight-bits", str(_ARRAY.weight_bits)]
    simulate = ["simulate", "planned.dc", "--inputs", sequence, "--most", "100000", *paper]
    commands = {
        "pack": ["compress", "pack", example.network, "packed.dc", "--density", "0.5", *traced, *weights],
        "measure": ["compress", "measure", "packed.dc", example.network, inputs, *weights, *labels],
        "plan": ["compress", "plan", example.network, inputs, "planned.dc", *example.tolerance, *weights, *labels],
        "simulate": ["designs", *simulate, *state],
        "codesign": ["designs", *codesign, "--trials", str(trials), "--out", "codesign"],
        "report": ["reports", "codesign", "codesign"],
    }
    assert tuple(commands) == NETWORK_STEPS
    seconds = {f"{step}_s": _command(step, words, folder) for step, words in commands.items()}
    return {"network": name, **_figures(folder / "planned.dc", example), **seconds}


def _command(step: str, words: list[str], folder: Path) -> float:
    """Run one command in the folder, keep what it prints, and return its seconds."""
    begin = time.perf_counter()
    paths = os.pathsep.join(path for path in sys.path if path)
    with open(folder / f"{step}.txt", "w") as printed:
        printed.write(f"python -m {' '.join(words)}\n")
        printed.flush()
        finished = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=folder,
            stdout=printed,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": paths, "COLUMNS": "160"},
            check=False,
        )
    if finished.returncode != 0:
        last = (folder / f"{step}.txt").read_text().strip().splitlines()[-1]
        raise InputError(f"{folder.name}: step {step} ended with {finished.returncode}: {last}")
    return time.perf_counter() - begin


def _figures(container: Path, example: Example) -> dict[str, Any]:
    """Return the figures of the table, from the planned container on the paper's array."""
    model = CompressedModel.load(container)
    inputs = example.inputs if example.sequence is None else example.sequence
    state = dict(zip(example.state[::2], example.state[1::2], strict=True))
    result = simulate_network(model, inputs, _ARRAY, state=state or None)
    return {
        "weights": sum(layer.codes.size for layer in model.layers),
        "products": len(result.layers),
        "kinds": ", ".join(dict.fromkeys(layer.kind for layer in result.layers)),
        "inputs": len(result.cycles),
        "vectors": float(sum(layer.vectors for layer in result.layers)),
        "off_array_operations": sum(each.count for each in result.off_array.values()),
        "off_array_elements": sum(each.elements for each in result.off_array.values()),
        "off_array_macs": sum(each.macs for each in result.off_array.values()),
        "useful_macs": float(sum(layer.useful_macs.mean() for layer in result.layers)),
        "cycles": float(result.cycles.mean()),
        "energy_pj": float(result.energy_pj.mean()),
        "largest_difference": result.largest_difference,
        "output_difference": result.output_difference,
        "file_bytes": model.size_bytes,
        "graph_bytes": model.size_report.graph,
        "compression_ratio": model.compression_ratio,
    }


def _written(path: Path, inputs: Any) -> str:
    """Write inputs to a file, and return its name."""
    if isinstance(inputs, Mapping):
        write_npz(path.with_suffix(".npz"), dict(inputs))
        return f"{path.name}.npz"
    write_npy(path.with_suffix(".npy"), inputs)
    return f"{path.name}.npy"


Maker = Callable[[Path], Example]


def _makers(data: Path | None) -> dict[str, Maker]:
    """Return what makes each network whose data are here, by name."""
    makers: dict[str, Maker] = {}
    models = Path("absent") if data is None else data / "models"

    def add(name: str, needed: list[Path], maker: Maker) -> None:
        if all(path.exists() for path in needed):
            makers[name] = maker

    cifar = Path("absent") if data is None else data / "cifar10"
    tiny = models / "mlperf_tiny"
    resnet_8, frames = tiny / "resnet8_cifar10.onnx", tiny / "toycar_normal_float32.bin"
    add("ResNet-8", [resnet_8, cifar], lambda _: _resnet_8(resnet_8, cifar))
    keywords = tiny / "ds_cnn_keyword_spotting.onnx"
    add("DS-CNN", [keywords], lambda _: _drawn(keywords, {"input_1": (64, 49, 10, 1)}, ("--divergence", "0.05")))
    encoder = tiny / "autoencoder_toycar.onnx"
    add("Autoencoder", [encoder, frames], lambda _: _autoencoder(encoder, frames))
    voice = models / "silero_vad" / "silero_vad_16k_op15.onnx"
    speech = models / "silero_vad" / "speech_16khz.wav"
    add("Silero VAD", [voice, speech], lambda _: _voice_activity(voice, speech))
    decoder = models / "deepfilternet3" / "df_dec.onnx"
    shapes = {"emb": (16, 10, 512), "c0": (16, 64, 10, 96)}
    add("DeepFilterNet", [decoder], lambda _: _drawn(decoder, shapes, ("--relative-error", "0.1")))
    stories = models / "stories260k" / "stories260K.bin"
    add("Llama", [stories], lambda _: _llama(stories))
    resnet_20 = models / "resnet20_cifar10.npz"
    add("ResNet-20", [resnet_20, cifar], lambda _: _resnet_20(resnet_20, cifar))
    squeeze = Path("absent") if data is None else data / "squeezenet_deep_compression" / "compressed_SqueezeNet.net"
    add("SqueezeNet", [squeeze], lambda folder: _squeezenet(squeeze, folder))
    makers["LSTM tagger"] = lambda _: _digits("lstm_tagger")
    makers["GRU tagger"] = lambda _: _digits("gru_tagger")
    makers["Vision transformer"] = lambda _: _digits("vision_transformer")
    return makers


def _drawn(path: Path, shapes: Mapping[str, tuple[int, ...]], tolerance: tuple[str, str]) -> Example:
    """Return a network of a file with random inputs, since no data of it are at hand."""
    draw = np.random.default_rng(0)
    inputs = {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return Example(str(path.resolve()), inputs, tolerance)


def _resnet_8(path: Path, cifar: Path) -> Example:
    from designs.experiments.planning.networks import resnet_8_inputs

    images = load_idx_folder(cifar)
    inputs = resnet_8_inputs(images.test_images[:200])
    return Example(str(path.resolve()), inputs, ("--accuracy-drop", "0.02"), images.test_labels[:200])


def _resnet_20(path: Path, cifar: Path) -> Example:
    images = load_idx_folder(cifar)
    weights = {name.removeprefix("state_dict."): values for name, values in read_npz(path).items()}
    inputs = images.test_images[:100].reshape(100, -1)
    return Example(f"{_MODULES}:resnet_20", inputs, ("--accuracy-drop", "0.02"), images.test_labels[:100], weights)


def _autoencoder(path: Path, frames: Path) -> Example:
    inputs = np.fromfile(frames, "<f4").reshape(-1, 640)
    return Example(str(path.resolve()), inputs, ("--relative-error", "0.01"))


def _voice_activity(path: Path, speech: Path) -> Example:
    """Return voice activity detection: chunks of 512 samples after 64 of the chunk before; the state goes on."""
    import wave

    with wave.open(str(speech)) as recording:
        samples = np.frombuffer(recording.readframes(recording.getnframes()), "<i2").astype(np.float32) / 32768
    count = len(samples) // 512
    padded = np.concatenate([np.zeros(64, dtype=np.float32), samples[: count * 512]])
    chunks = np.stack([padded[512 * place : 512 * place + 576] for place in range(count)])
    rate, state = np.array(16_000), np.zeros((2, 1, 128), dtype=np.float32)
    network = Network.open(path)
    states = []
    for chunk in chunks:
        states.append(state)
        state = network.run({"input": chunk[np.newaxis], "state": state, "sr": rate})["stateN"]
    places = np.linspace(0, count - 1, 64).astype(np.int64)
    pool = {"input": chunks[places], "state": np.concatenate([states[place] for place in places], axis=1), "sr": rate}
    sequence = {"input": chunks, "state": states[0], "sr": rate}
    tolerance = ("--relative-error", "0.1")
    return Example(str(path.resolve()), pool, tolerance, sequence=sequence, state=("state", "stateN"))


def _llama(path: Path) -> Example:
    import torch

    from designs.experiments.example_networks import read_llama

    network = read_llama(path)
    draw = torch.Generator().manual_seed(0)
    tokens = torch.ones(16, 1, dtype=torch.int64)
    with torch.no_grad():
        for _ in range(31):
            chances = network(tokens)[:, -1].softmax(dim=-1)
            tokens = torch.cat([tokens, torch.multinomial(chances, 1, generator=draw)], dim=1)
    weights = {name: values.numpy() for name, values in network.state_dict().items()}
    return Example(f"{_MODULES}:stories_llama", tokens.numpy(), ("--divergence", "0.05"), weights=weights)


def _squeezenet(path: Path, folder: Path) -> Example:
    """Return the SqueezeNet of Deep Compression's author, written as an ONNX file, with random images."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "squeezenet.onnx", read_net(path).network.to_onnx().SerializeToString())
    images = (60 * np.random.default_rng(6).normal(size=(8, 3, 227, 227))).astype(np.float32)
    return Example("squeezenet.onnx", images, ("--relative-error", "0.05"))


def _digits(name: str) -> Example:
    """Return a module that is trained here on the handwritten digits."""
    import torch

    from designs.experiments import example_networks

    torch.manual_seed(0)
    network = example_networks.train_on_digits(getattr(example_networks, name)())
    digits = load_digits()
    inputs = digits.test_images[:100].reshape(-1, example_networks.SIDE, example_networks.SIDE)
    with torch.no_grad():
        steps = network(torch.from_numpy(inputs)).ndim == 3
    labels = digits.test_labels[:100]
    labels = np.repeat(labels[:, np.newaxis], example_networks.SIDE, axis=1) if steps else labels
    weights = {key: values.numpy() for key, values in network.state_dict().items()}
    return Example(f"{_MODULES}:{name}", inputs, ("--accuracy-drop", "0.02"), labels, weights)
