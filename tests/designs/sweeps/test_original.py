"""Loss of a simulated network from its original, in the arithmetic of the array."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

from compress import CompressedModel, CompressionConfig, LayerSettings, compress  # noqa: E402
from designs import advise, run_container  # noqa: E402
from designs.commands.run import simulate  # noqa: E402
from designs.screens.network_run import print_network_run  # noqa: E402
from designs.sweeps.original import Original  # noqa: E402
from sim import ArrayConfig, fit_formats, simulate_network  # noqa: E402
from tests.small_network import small_network  # noqa: E402
from traces import InputError  # noqa: E402

ARRAY = ArrayConfig(num_pes=4, precision="fixed-8")
FLOAT = ArrayConfig(num_pes=4)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = small_network()
    path = tmp_path_factory.mktemp("container") / "small.dc"
    compress(network.module, CompressionConfig(LayerSettings(density=0.6, weight_bits=4)), inputs=network.pool).save(
        path
    )
    return path


def test_the_loss_is_that_of_the_array_s_answers(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = small_network()
    inputs, labels = np.asarray(network.test)[:80], np.asarray(network.test_labels)[:80]
    calibration = np.asarray(network.pool) * np.float32(0.03)  # so that later sums overflow
    run = run_container(
        path, ARRAY, inputs, most=80, labels=labels, calibration=calibration, original=Original(network.module)
    )
    formats = fit_formats(path, calibration, ARRAY)
    found = simulate_network(path, inputs, ARRAY, number_formats=formats)
    np.testing.assert_array_equal(run.result.output, found.output)
    before = network.module(torch.from_numpy(inputs)).argmax(dim=1).numpy()
    right, right_before = ((each == labels).mean() for each in (found.output.argmax(axis=1), before))
    assert run.lost is not None
    assert run.lost.loss.name == "accuracy"
    assert run.lost.of_inputs.mean == pytest.approx(right_before - right)
    assert run.lost.of_inputs.low < run.lost.of_inputs.mean < run.lost.of_inputs.high
    exact = run_container(path, FLOAT, inputs, most=80, labels=labels, original=Original(network.module))
    assert exact.lost is not None
    assert exact.lost.of_inputs.mean < run.lost.of_inputs.mean - 0.1
    print_network_run(run, advise(run))
    printed = capsys.readouterr().out
    for words in (
        f"Loss:       {run.lost.of_inputs.mean:.4g} on these inputs in the array's arithmetic (fixed-8), ",
        "share of right answers that is lost",
        "Formats:    fitted to 300 inputs of given inputs\n",
        f"Arithmetic: fixed-8, with {run.result.overflows.mean():,.1f} overflows and",
        f"fc1 {formats['fc1'].weight_fraction_bits}, {formats['fc1'].activation_fraction_bits}, ",
    ):
        assert words in printed, words
    assert run.result.overflows.mean() > 1  # a coded bias needs activations of 1, which hold these pixels


def test_other_losses_are_measured_by_their_names_and_files(path: Path, tmp_path: Path) -> None:
    network = small_network()
    inputs = np.asarray(network.test)[:30]
    onnx = tmp_path / "small.onnx"
    onnx.write_bytes(network.graph.to_onnx().SerializeToString())
    for loss in ("answers", "kl", "relative-error"):
        module, file = (
            run_container(path, ARRAY, inputs, most=30, original=Original(each, loss=loss))
            for each in (network.module, onnx)
        )
        assert module.lost is not None
        assert file.lost is not None
        assert module.lost.loss.name == loss
        assert module.lost.of_inputs.mean == pytest.approx(file.lost.of_inputs.mean, rel=1e-4)
        assert module.lost.of_inputs.mean > 0


def test_without_calibration_the_screen_says_what_formats_are_fitted_to(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_container(path, ARRAY, np.asarray(small_network().test)[:5])
    assert run.lost is None
    print_network_run(run, advise(run))
    sentence = (
        "Formats:    fitted to these inputs; give others with --calibration, so that accuracy is that of new inputs"
    )
    assert sentence in capsys.readouterr().out


def test_what_has_no_effect_is_refused_by_name(path: Path, tmp_path: Path) -> None:
    network = small_network()
    inputs = np.asarray(network.test)[:4]
    cases: list[tuple[str, dict[str, Any]]] = [("--loss", {"loss": "kl"}), ("--weights", {"weights": tmp_path})]
    with pytest.raises(InputError, match="calibration has no effect with precision='float'; give the array a fixed"):
        run_container(path, FLOAT, inputs, calibration=inputs)
    with pytest.raises(InputError, match=r"calibration: .* must be float32"):
        run_container(path, ARRAY, inputs, calibration=inputs[:, :5])
    with pytest.raises(InputError, match="state cannot be fed on; leave out the original, or the state"):
        run_container(path, FLOAT, inputs, state={"h": "new"}, original=Original(network.module))
    with pytest.raises(InputError, match="labels have no effect on the loss kl; leave them out, or take accuracy"):
        run_container(path, FLOAT, inputs, labels=np.zeros(4), original=Original(network.module, loss="kl"))
    for option, given in cases:
        with pytest.raises(InputError, match=f"{option} belongs to the original network; give it with --original"):
            simulate(path, FLOAT, inputs=tmp_path / "x.npy", **given)


def test_an_original_of_other_outputs_is_refused(path: Path) -> None:
    model = CompressedModel.load(path)
    with pytest.raises(InputError):
        run_container(path, FLOAT, np.asarray(small_network().test)[:4], original=Original(torch.nn.Linear(64, 3)))
    assert model.graph is not None
