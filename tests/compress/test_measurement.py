"""Containers measured beside their originals, from Python and from the command line (PyTorch needed)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

import torch

from compress import CompressionConfig, LayerSettings, compress
from compress.measurement import measure
from compress.training.compressor import Compressor
from tests.commands import check_refusal, run_command, words_of
from tests.traces.graph.graphs import activations, drawn, model, node
from traces import InputError, Network, write_npy, write_npz

NETWORK = """
import torch

class Two(torch.nn.Module):
    def __init__(self, outputs=4):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = torch.nn.Linear(6, 20), torch.nn.Linear(20, outputs)

    def forward(self, a, b):
        hidden = torch.relu(self.first(a)) + b
        scores = self.second(hidden)
        return {"scores": scores, "length": hidden.norm(dim=1), "answer": scores.argmax(dim=1)}

class Step(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.cell, self.last = torch.nn.GRUCell(6, 6), torch.nn.Linear(6, 4)

    def forward(self, x, state):
        after = self.cell(x, state)
        return self.last(after), after

def one():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 20), torch.nn.ReLU(), torch.nn.Linear(20, 4))

def other():
    return Two(5)
"""
INPUTS = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)


def built(name: str, *arguments: Any) -> torch.nn.Module:
    scope: dict[str, Any] = {"__name__": "mine"}
    exec(NETWORK, scope)
    module: torch.nn.Module = scope[name](*arguments)
    return module


def compressed(module: torch.nn.Module) -> Any:
    return Compressor(module, CompressionConfig(LayerSettings(density=0.5, weight_bits=3), pruning_steps=1)).finalize()


def test_a_measurement_is_what_both_networks_give() -> None:
    module, model = built("one"), compressed(built("one"))
    module.train()
    labels = np.arange(50) % 4
    found = measure(model, module, INPUTS, labels)
    changed = built("one")
    model.load_into(changed)
    before, after = (each(torch.from_numpy(INPUTS)).detach().numpy().astype(float) for each in (module, changed))
    errors = np.linalg.norm(after - before, axis=1) / np.linalg.norm(before, axis=1)
    of_output = found.outputs["output"]
    assert (found.inputs, list(found.outputs)) == (50, ["output"])
    assert of_output.relative_error == pytest.approx(errors.mean(), rel=1e-5)
    assert of_output.worst_relative_error == pytest.approx(errors.max(), rel=1e-5)
    assert of_output.worst_input == errors.argmax()
    lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    assert of_output.cosine == pytest.approx(((before * after).sum(axis=1) / lengths).mean(), rel=1e-6)
    assert of_output.changed_answers == (before.argmax(axis=1) != after.argmax(axis=1)).mean() > 0
    assert of_output.original_accuracy == (before.argmax(axis=1) == labels).mean()
    assert of_output.accuracy == (after.argmax(axis=1) == labels).mean()
    logarithms = [each - np.log(np.exp(each).sum(axis=1, keepdims=True)) for each in (before, after)]
    assert of_output.divergence == pytest.approx(
        (np.exp(logarithms[0]) * (logarithms[0] - logarithms[1])).sum(axis=1).mean(), rel=1e-4
    )
    right = [np.exp(-each[np.arange(50), labels].mean()) for each in logarithms]
    assert [of_output.original_perplexity, of_output.perplexity] == pytest.approx(right, rel=1e-5)
    assert of_output.same_beginning is None, "no positions"
    assert module.training
    probable = measure(model, torch.nn.Sequential(*module.children(), torch.nn.Softmax(1)), INPUTS).outputs["output"]
    assert probable.changed_answers == of_output.changed_answers
    assert probable.accuracy is None
    assert probable.perplexity is None
    assert probable.divergence == pytest.approx(of_output.divergence, rel=1e-4)


def test_every_output_is_measured_as_it_can_be() -> None:
    module, inputs = built("Two"), {"a": INPUTS, "b": INPUTS[:, :1]}
    found = measure(compressed(built("Two")), module, inputs).outputs
    assert list(found) == ["scores", "length", "answer"]
    assert found["answer"].changed_answers == found["scores"].changed_answers
    assert (found["answer"].relative_error, found["answer"].cosine) == (None, None)
    assert (found["length"].changed_answers, found["length"].cosine) == (None, None)
    assert 0 < (found["length"].relative_error or 0) < (found["length"].worst_relative_error or 0)


def test_named_outputs_are_measured_with_labels_of_one_of_them() -> None:
    module, inputs = built("Two"), {"a": INPUTS, "b": INPUTS[:, :1]}
    model, labels = compressed(built("Two")), np.arange(50) % 4
    found = measure(model, module, inputs, labels, outputs=["scores"]).outputs
    every = measure(model, module, inputs).outputs["scores"]
    assert list(found) == ["scores"]
    assert (found["scores"].divergence, found["scores"].changed_answers) == (every.divergence, every.changed_answers)
    assert found["scores"].original_accuracy is not None
    with pytest.raises(InputError, match="outputs must be some of the network's, scores, length, answer; found cores"):
        measure(model, module, inputs, outputs=["cores"])


def test_a_state_that_is_fed_on_is_measured_as_no_class_scores() -> None:
    module = built("Step")
    scores, state = measure(compressed(built("Step")), module, (INPUTS, INPUTS[::-1].copy())).outputs.values()
    assert scores.divergence is not None
    assert (state.changed_answers, state.divergence) == (None, None)
    assert state.relative_error


def test_what_does_not_fit_is_refused() -> None:
    model = compressed(built("one"))
    with pytest.raises(InputError, match="belongs to another network"):
        measure(model, torch.nn.Sequential(torch.nn.Linear(6, 21), torch.nn.ReLU(), torch.nn.Linear(21, 4)), INPUTS)
    with pytest.raises(InputError, match=r"the network must take the inputs \(0: float32 \[50, 5\]\)"):
        measure(model, built("one"), INPUTS[:, :5])
    with pytest.raises(InputError, match="there must be a label for each input; found 3 for 50"):
        measure(model, built("one"), INPUTS, np.zeros(3))
    with pytest.raises(InputError, match="the original's outputs must be finite"):
        measure(model, built("one"), INPUTS * np.nan)
    with pytest.raises(InputError, match="labels are those of one output; found the outputs scores, length, answer"):
        measure(compressed(built("Two")), built("Two"), (INPUTS, INPUTS[:, :1]), np.zeros(50))


def test_inputs_that_depend_on_each_other_are_measured_as_one(tmp_path: Path) -> None:
    nodes = [node("CumSum", ["x", "axis"], ["s"]), node("MatMul", ["s", "w"])]
    made = model(nodes, {"x": ["n", 4]}, parameters={"w": drawn(0, 4, 3), "axis": np.array(0)})
    for length in (5, 3):
        made.graph.output[0].type.tensor_type.shape.dim.add(dim_value=length)
    (tmp_path / "network.onnx").write_bytes(made.SerializeToString())
    x = activations(0, 5, 4)
    opened = Network.open(tmp_path / "network.onnx")
    compressed = compress(opened, CompressionConfig(LayerSettings(density=1.0, weight_bits=2)))
    (output,) = measure(compressed, tmp_path / "network.onnx", x).outputs.values()
    before, after = opened.run(x)["y"], compressed.network.run(x)["y"]
    assert output.relative_error == pytest.approx(np.linalg.norm(after - before) / np.linalg.norm(before), rel=1e-4)
    with pytest.raises(InputError, match="axis 0 of 'x' must hold inputs that do not depend on each other"):
        measure(compressed, opened, x)


def test_the_shell_measures_a_container(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(NETWORK)
    write_npz(tmp_path / "inputs.npz", {"a": INPUTS, "b": INPUTS[:, :1]})
    write_npy(tmp_path / "one.npy", INPUTS)
    write_npy(tmp_path / "labels.npy", np.arange(50) % 4)
    compressed(built("Two")).save(tmp_path / "two.dc")
    compressed(built("one")).save(tmp_path / "one.dc")
    printed = words_of(run_command("compress", "measure", "two.dc", "mine:Two", "inputs.npz", folder=tmp_path))
    assert "two.dc beside its original, on 50 inputs" in printed
    assert "answer: " in printed
    assert "of the answers differ." in printed
    arguments = ("measure", "one.dc", "mine:one", "one.npy", "--labels", "labels.npy")
    printed = words_of(run_command("compress", *arguments, folder=tmp_path))
    assert "of the original" in printed
    assert "output: differs from the original by " in printed
    assert "nats; the perplexity is" in printed
    for container, network, inputs, sentence in (
        ("two.dc", "mine:other", "inputs.npz", "belongs to another network"),
        ("one.dc", "mine:one", "none.npy", "none.npy: there is no such file"),
        ("one.dc", "mine:one", "inputs.npz", "the network must take the inputs"),
        ("mine.py", "mine:one", "one.npy", "mine.py"),
    ):
        check_refusal(sentence, "compress", "measure", container, network, inputs, folder=tmp_path)


def test_the_shell_plans_for_a_relative_error_or_a_cosine(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(NETWORK)
    write_npy(tmp_path / "one.npy", INPUTS)
    for bound in ("relative-error", "cosine"):
        arguments = ("plan", "mine:one", "one.npy", "small.dc", f"--{bound}", "0.1", "--leave", "2")
        made = run_command("compress", *arguments, folder=tmp_path)
        assert made.returncode == 0, made.stderr
        assert f"{bound} 0.0" in made.stdout
        watched = run_command(
            "compress", "watch", "small.dc", "mine:one", "one.npy", "--plan", "small.plan.json", folder=tmp_path
        )
        assert watched.returncode == 0
        assert f"tolerance used ({bound})" in watched.stdout
        assert "answers that differ" not in watched.stdout
    both = ("--cosine", "0.1", "--divergence", "0.1")
    sentence = "a tolerance needs exactly one positive bound"
    check_refusal(sentence, "compress", "plan", "mine:one", "one.npy", "other.dc", *both, folder=tmp_path)
