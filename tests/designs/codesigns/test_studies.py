"""Co-design: predicted and measured figures, and studies that are killed, shared and continued."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

from compress import CompressedModel  # noqa: E402
from compress.planning.plan import Choice  # noqa: E402
from designs import (  # noqa: E402
    Design,
    Range,
    Search,
    Space,
    TrainedNetwork,
    codesign,
)
from designs.codesigns.array_cost import ArrayCost  # noqa: E402
from designs.codesigns.columns import FRONT_COLUMNS, TRIAL_COLUMNS  # noqa: E402
from designs.codesigns.compression_search import compression_key  # noqa: E402
from designs.codesigns.compressions import (  # noqa: E402
    LARGEST_LAYERS,
    LIMITS,
    WORK_WEIGHTS,
    CompressionAnalysis,
    analyse_compression,
)
from designs.codesigns.enumeration import Enumeration  # noqa: E402
from designs.codesigns.layer_costs import BYTE_KINDS, LAYER_COLUMNS, LAYERS_FILE  # noqa: E402
from designs.codesigns.loop import run_study  # noqa: E402
from designs.codesigns.problem import CodesignProblem  # noqa: E402
from designs.codesigns.progress import StudyProgress  # noqa: E402
from designs.codesigns.storage import JOURNAL_FILE, open_storage  # noqa: E402
from designs.codesigns.trials import RECORD, StudyTrial  # noqa: E402
from designs.codesigns.uncertainty import VerifiedDesign, drawn_figures  # noqa: E402
from designs.codesigns.verification import Distillation  # noqa: E402
from designs.results import read_results  # noqa: E402
from designs.space import Constraints  # noqa: E402
from designs.sweeps.evaluation import ENERGIES, NETWORK_CYCLES  # noqa: E402
from sim import ArrayConfig, ProductShape, dense_match, simulate_batch  # noqa: E402
from sim.cost.constants import NOMINAL  # noqa: E402
from sim.cost.sram import activation_sram  # noqa: E402
from sim.limits import BINDING  # noqa: E402
from sim.network_schedule import LAYER_REGISTERS  # noqa: E402
from sim.observe.cycles import CYCLE_CLASSES  # noqa: E402
from tests.commands import environment_with  # noqa: E402
from tests.conftest import PROJECT  # noqa: E402
from tests.small_network import small_network  # noqa: E402
from traces import InputError  # noqa: E402
from traces.pareto import non_dominated  # noqa: E402

SPACE = Space(
    {
        "num_pes": (1, 2, 4, 8),
        "queue_slots": (2, 8),
        "line_bits": (16, 64),
        "weight_bits": (3, 4),
        "index_bits": (3, 4),
        "clock_mhz": (400.0, 800.0),
        "row_assignment": ("interleaved", "entries"),
    }
)
SMALL = Search(trials=12, verify=4)
SCRIPT = """
import os, sys, time
from pathlib import Path
from designs import Search, codesign
from designs.codesigns.compressions import analyse_compression
from tests.small_network import small_network
from tests.designs.codesigns.test_studies import SPACE
if __name__ == "__main__":
    folder, trials, together = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    analysis = analyse_compression(small_network())
    (folder / f"{os.getpid()}.ready").touch()
    while len(list(folder.glob("*.ready"))) < together:
        time.sleep(0.01)
    codesign(analysis, SPACE, Search(trials=trials, verify=2), folder)
"""


@pytest.fixture(scope="module")
def analysis() -> CompressionAnalysis:
    return analyse_compression(small_network())


@pytest.fixture(scope="module")
def finished(analysis: CompressionAnalysis, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("study")
    return folder, codesign(analysis, SPACE, SMALL, folder)


def start(folder: Path, trials: int, together: int = 1) -> subprocess.Popen[str]:
    """Start a process that works on a study as soon as `together` processes are ready."""
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder), str(trials), str(together)],
        env=environment_with(),
        cwd=PROJECT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finished_trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
    if not (folder / JOURNAL_FILE).exists():
        return []
    try:
        study = optuna.load_study(study_name="codesign", storage=open_storage(folder))
    except KeyError:  # not there yet
        return []
    return [each for each in study.get_trials() if each.state.is_finished() and each.state.name != "FAIL"]


def test_the_whole_network_costs_what_its_layers_cost_one_after_the_other() -> None:
    network = small_network()
    inputs = np.asarray(network.pool)[:3]
    analysis = analyse_compression(network)
    choices = analysis.planned(20, 4, LARGEST_LAYERS - 1, 4)
    layers = analyse_compression(network).layers(choices)
    array = ArrayConfig(num_pes=3, queue_slots=4, index_bits=3)
    found = ArrayCost(network.module, inputs, largest_error=0).figures(layers, Design(array), fit_srams=False)
    parts = dict(network.module.named_children())
    latency = energy = 0.0
    seen = torch.from_numpy(inputs)
    for name, part in parts.items():
        if name in layers:
            entering = seen.numpy()
            if name == "conv":
                unfolded = torch.nn.functional.unfold(seen, 3, padding=1)
                entering = unfolded.transpose(1, 2).reshape(-1, 9).numpy()
            result = simulate_batch(layers[name].layer, entering, array)
            columns, rows = entering.shape[1], result.output.shape[1]
            vectors = len(entering) // len(inputs)
            of_array = result.cycles.reshape(len(inputs), -1).sum(axis=1)
            on_port = -(-vectors * (columns + rows) // 4)  # 4 words in a cycle
            waits = np.maximum(on_port - of_array, 0) + 1 - (-rows // 4) + 4 + LAYER_REGISTERS
            latency += float((of_array + waits).mean()) / array.clock_mhz
            energies = result.energies_with()
            idle = (energies["scan_pj"] + energies["clock_pj"] + energies["leakage_pj"]) / result.cycles
            energy += float(result.energy_pj.sum() + idle[0] * waits.sum()) / len(inputs) / 1e3
            sram = activation_sram(array)
            energy += vectors * (columns * sram.read_pj + rows * sram.write_pj) / 1e3
        seen = part(seen).detach()
    assert found.latency_us == pytest.approx(latency)
    assert found.energy_nj == pytest.approx(energy)
    assert not found.lacking


def test_fitted_srams_hold_every_layer_and_take_less_area(analysis: CompressionAnalysis) -> None:
    layers = analysis.layers(analysis.planned(LIMITS - 1, 0, LARGEST_LAYERS - 1, 4))
    whole, fitted = (analysis.array_cost.figures(layers, Design(ArrayConfig(num_pes=4)), fit) for fit in (False, True))
    assert fitted.area_mm2 < whole.area_mm2
    assert not fitted.lacking
    assert fitted.latency_us == whole.latency_us


def test_a_looser_limit_gives_a_smaller_file_and_never_less_change(analysis: CompressionAnalysis) -> None:
    found = [analysis.predict(analysis.planned(limit, 0, LARGEST_LAYERS - 1, 4)) for limit in range(0, LIMITS, 4)]
    sizes = [each.file_bytes for each in found]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1]
    assert [each.loss for each in found] == sorted(each.loss for each in found)


def test_weight_on_work_trades_bytes_for_multiplications(analysis: CompressionAnalysis) -> None:
    def work_and_bytes(weight: int) -> tuple[float, float]:
        chosen = analysis.planned(16, weight, LARGEST_LAYERS - 1, 4)
        found = [analysis.candidate(name, chosen[name]).costs for name in analysis.names]
        return sum(each["macs"] for each in found), sum(each["file_bytes"] for each in found)

    (most_work, fewest_bytes), (least_work, most_bytes) = work_and_bytes(0), work_and_bytes(WORK_WEIGHTS - 1)
    assert least_work < most_work
    assert fewest_bytes < most_bytes


def test_no_code_is_wider_than_the_arrays_and_no_layer_smaller_than_the_limit_allows(
    analysis: CompressionAnalysis,
) -> None:
    narrow = analysis.planned(8, 0, LARGEST_LAYERS - 1, 2)
    assert {each.weight_bits for each in narrow.values()} == {2}
    plans = [analysis.planned(4, 0, largest, 4) for largest in (0, LARGEST_LAYERS // 2, LARGEST_LAYERS - 1)]
    entries = [max(int((each.layer.codes != 0).sum()) for each in analysis.layers(plan).values()) for plan in plans]
    assert entries == sorted(entries)
    looser = analysis.predict(analysis.planned(8, 0, LARGEST_LAYERS - 1, 4))
    assert analysis.predict(plans[0]).loss <= looser.loss


def test_members_of_the_front_are_what_their_containers_are(finished: tuple[Path, Any]) -> None:
    folder, table = finished
    network = small_network()
    assert table.num_rows == 4
    for row in table.to_pylist():
        path = folder / "front" / f"{row['digest']}.dc"
        assert row["measured_file_bytes"] == path.stat().st_size
        assert row["predicted_file_bytes"] == pytest.approx(path.stat().st_size, abs=8)  # lengths in the header
        module = small_network().module
        before = {name: values.clone() for name, values in module.state_dict().items()}
        CompressedModel.load(path).load_into(module)
        with torch.no_grad():
            answers = module(torch.from_numpy(network.evaluation)).argmax(dim=1).numpy()
            tested = module(torch.from_numpy(network.test)).argmax(dim=1).numpy()
        module.load_state_dict(before)
        assert row["accuracy"] == (answers == network.evaluation_labels).mean()
        assert row["test_accuracy"] == (tested == network.test_labels).mean()
        assert row["measured_latency_us"] == pytest.approx(row["predicted_latency_us"], rel=0.25)
        assert row["measured_area_mm2"] == pytest.approx(row["predicted_area_mm2"])
    assert read_results(folder / "front.parquet", FRONT_COLUMNS)[0].to_pylist() == table.to_pylist()


def test_the_layers_of_verified_designs_add_up_to_what_the_designs_cost(finished: tuple[Path, Any]) -> None:
    folder, table = finished
    layers = read_results(folder / LAYERS_FILE, LAYER_COLUMNS)[0].to_pylist()
    assert [row["digest"] for row in layers] == [row["digest"] for row in table.to_pylist() for _ in range(3)]
    for row in table.to_pylist():
        ours = [layer for layer in layers if layer["digest"] == row["digest"]]
        report = CompressedModel.load(folder / "front" / f"{row['digest']}.dc").size_report
        cycles = sum(layer[name] for layer in ours for name in NETWORK_CYCLES)
        assert row["limit_cycles"] == pytest.approx(sum(layer["limit_cycles"] for layer in ours))
        assert row["limit_share"] == pytest.approx(row["limit_cycles"] / cycles)
        assert row["limit_binds"] in {layer["limit_binds"] for layer in ours}
        assert row["limit_energy_nj"] == pytest.approx(sum(layer["limit_energy_pj"] for layer in ours) / 1e3)
        assert 0 < row["limit_energy_nj"] < row["measured_energy_nj"]
        assert row["limit_bytes"] == pytest.approx(sum(layer["limit_bytes"] for layer in ours))
        assert all(0 < layer["limit_bytes"] < layer["sram_bytes"] for layer in ours)
        array = Design.from_hardware(row).array
        shapes = [ProductShape(6, 9, 64, window_reuse=9), ProductShape(24, 96), ProductShape(10, 24)]
        assert row["dense"] == str(dense_match(shapes, array, array.activation_bits))
        assert row["dense_energy_nj"] == dense_match(shapes, array, array.activation_bits).run.energy_nj
        assert cycles / row["clock_mhz"] == pytest.approx(row["measured_latency_us"])
        assert {layer["residency"] for layer in ours} == {"resident"}
        assert sum(layer["energy_pj"] for layer in ours) / 1e3 == pytest.approx(row["measured_energy_nj"])
        assert all(layer["predicted_cycles"] < layer["predicted_network_cycles"] for layer in ours)
        assert sum(layer["predicted_network_cycles"] for layer in ours) / row["clock_mhz"] == pytest.approx(
            row["predicted_latency_us"]
        )
        for layer, size in zip(ours, report.layers, strict=True):
            assert sum(layer[f"{kind}_bytes"] for kind in BYTE_KINDS) == size.total
            assert layer["matrix_bytes"] == pytest.approx(layer["predicted_matrix_bytes"], abs=3)
            assert sum(layer[f"{name}_cycles"] for name in CYCLE_CLASSES) == pytest.approx(layer["cycles"])
            assert sum(layer[name] for name in ENERGIES) == pytest.approx(layer["energy_pj"])
            all_cycles = sum(layer[name] for name in NETWORK_CYCLES)
            assert 0 < layer["limit_cycles"] <= all_cycles
            assert layer["limit_cycles"] == pytest.approx(layer["limit_share"] * all_cycles)
            assert layer["limit_binds"] in set(BINDING.values()) - {"DRAM"}
            assert layer["entropy_bytes"] == size.entropy_bytes > 0
            assert layer["chosen_density"] == json.loads(row["choices"])[layer["layer"]][0]
            edges = np.array([0, *layer["timeline_cycles"]])
            busy = np.array(layer["timeline_busy_pes"]) * np.diff(edges)
            one_vector = layer["processed_entries"] / layer["vectors"]
            assert 0.3 * one_vector < busy.sum() < 3 * one_vector  # a typical one, not the mean


def test_what_is_marked_as_front_is_not_beaten_as_measured(finished: tuple[Path, Any]) -> None:
    rows = finished[1].to_pylist()
    measured = np.array([[row[f"measured_{name}"] for name in SMALL.objectives] for row in rows])
    assert [row["on_front"] for row in rows] == non_dominated(measured).tolist()


def test_a_finished_study_gets_shares_of_draws_from_its_records(
    analysis: CompressionAnalysis, finished: tuple[Path, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    shutil.copytree(finished[0], folder)
    records = {path: path.stat().st_mtime_ns for path in (folder / "front").iterdir()}
    known, trials = finished[1].to_pylist(), len(finished_trials(folder))
    assert all(row["front_share"] is None and not row["same_as"] for row in known)
    drawn = codesign(analysis, SPACE, SMALL, folder, uncertain=20).to_pylist()
    assert {path: path.stat().st_mtime_ns for path in (folder / "front").iterdir()} == records
    assert len(finished_trials(folder)) == trials
    standing = {row["digest"]: row for row in drawn}
    for row, before in zip(drawn, known, strict=True):
        assert row | {"front_share": None, "same_as": ""} == before
        assert 0 <= row["front_share"] <= standing[row["same_as"]]["front_share"]
        assert standing[row["same_as"]]["same_as"] == row["same_as"]
    assert max(row["front_share"] for row in drawn) > 0
    written, origin = read_results(folder / "front.parquet", FRONT_COLUMNS)
    assert written.to_pylist() == drawn
    assert origin["settings"]["uncertain"] == 20


def test_energy_and_area_by_the_stated_constants_are_those_of_the_record(finished: tuple[Path, Any]) -> None:
    for path in (finished[0] / "front").glob("*.json"):
        design = VerifiedDesign.of_record(json.loads(path.read_text()))
        figures = drawn_figures(design.point.design.array, design.counts, NOMINAL)
        assert figures == {name: pytest.approx(design.point.figures[name]) for name in ("energy_nj", "area_mm2")}


def test_hypervolume_is_logged_and_never_falls(finished: tuple[Path, Any]) -> None:
    table, origin = read_results(finished[0] / "trials.parquet", TRIAL_COLUMNS)
    volumes = table["hypervolume"].to_pylist()
    assert len(volumes) == SMALL.trials
    assert volumes == sorted(volumes)
    assert volumes[-1] > 0
    assert origin["settings"]["search"]["objectives"] == list(SMALL.objectives)


def test_a_study_opens_with_optuna_alone(finished: tuple[Path, Any]) -> None:
    from optuna.storages.journal import JournalFileBackend

    storage = optuna.storages.JournalStorage(JournalFileBackend(str(finished[0] / JOURNAL_FILE)))
    study = optuna.load_study(study_name="codesign", storage=storage)
    assert study.metric_names == ["least accuracy_loss", *(f"least log10 {name}" for name in SMALL.objectives[1:])]
    assert study.best_trials
    for trial in study.trials:
        record = StudyTrial.from_dict(trial.number, trial.user_attrs[RECORD])
        densities = {name: choice.density for name, choice in record.choices.items()}
        assert {name: trial.params[f"{name}.density"] for name in densities} == densities
        least = [record.least[name] for name in SMALL.objectives]
        assert trial.values == [least[0], *(pytest.approx(math.log10(value)) for value in least[1:])]


def test_the_same_call_does_nothing_again_and_more_trials_go_on(analysis: CompressionAnalysis, tmp_path: Path) -> None:
    search = Search(trials=5, verify=2)
    first = codesign(analysis, SPACE, search, tmp_path)
    containers = {path: path.stat().st_mtime_ns for path in (tmp_path / "front").glob("*.dc")}
    assert codesign(analysis, SPACE, search, tmp_path).to_pylist() == first.to_pylist()
    assert {path: path.stat().st_mtime_ns for path in containers} == containers
    before = [trial.params for trial in finished_trials(tmp_path)]
    codesign(analysis, SPACE, dataclasses.replace(search, trials=8), tmp_path)
    after = [trial.params for trial in finished_trials(tmp_path)]
    assert after[:5] == before
    assert len(after) == 8
    codesign(analysis, SPACE, search, tmp_path, fresh=True)
    assert len(finished_trials(tmp_path)) == 5


def test_one_process_finds_the_same_again(analysis: CompressionAnalysis, tmp_path: Path) -> None:
    search = Search(trials=25, verify=1, seed=3)
    runs = [run_study(CodesignProblem(analysis, SPACE, search), tmp_path / each) for each in ("a", "b")]
    assert len(runs[0]) == 25
    assert [trial.to_dict() for trial in runs[0]] == [trial.to_dict() for trial in runs[1]]


def test_any_storage_url_keeps_a_study(analysis: CompressionAnalysis, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    codesign(analysis, SPACE, Search(trials=3, verify=1), tmp_path / "out", storage=url, name="mine")
    assert len(optuna.load_study(study_name="mine", storage=url).trials) == 3
    assert not (tmp_path / "out" / JOURNAL_FILE).exists()


def test_density_and_bits_of_each_layer_may_be_searched_one_by_one(
    analysis: CompressionAnalysis, tmp_path: Path
) -> None:
    space = Space(
        {"num_pes": (2, 4)},
        {"density": Range(0.2, 0.6), "weight_bits": (3, 4), "layers": {"fc2": {"density": 0.5, "weight_bits": 4}}},
    )
    table = codesign(analysis, space, Search(trials=4, verify=4), tmp_path)
    for row in table.to_pylist():
        chosen = json.loads(row["choices"])
        assert chosen["fc2"] == [0.5, 4]
        assert 0.2 <= chosen["conv"][0] <= 0.6
        assert row["predicted_file_bytes"] == pytest.approx(row["measured_file_bytes"], abs=8)


def test_bounds_and_constraints_hold_in_what_is_reported(analysis: CompressionAnalysis, tmp_path: Path) -> None:
    space = dataclasses.replace(SPACE, constraints=Constraints(max_area_mm2=1.0, must_fit=True))
    search = Search(objectives=("latency_us",), bounds={"file_bytes": 2500.0}, trials=25, verify=3)
    table = codesign(analysis, space, search, tmp_path)
    for row in table.to_pylist():
        assert row["predicted_area_mm2"] <= 1.0
        assert row["predicted_file_bytes"] <= 2500
        assert row["keeps_bounds"] == (row["measured_area_mm2"] <= 1 and row["measured_file_bytes"] <= 2500)


def test_bounds_that_no_design_keeps_are_said_with_what_comes_nearest(
    analysis: CompressionAnalysis, tmp_path: Path
) -> None:
    search = Search(bounds={"latency_us": 1e-3}, trials=3)
    with pytest.raises(
        InputError,
        match=r"no design of 3 compressions keeps all bounds; the nearest exceeds latency_us by [\d,.]+%; relax the",
    ):
        codesign(analysis, SPACE, search, tmp_path)


def test_fine_tuning_changes_what_is_measured_and_keeps_the_density(
    analysis: CompressionAnalysis, tmp_path: Path
) -> None:
    search = Search(trials=4, verify=1)
    plain = codesign(analysis, SPACE, search, tmp_path / "plain").to_pylist()[0]
    tuning = Distillation(small_network(), 1)
    tuned = codesign(analysis, SPACE, search, tmp_path / "plain", fine_tune=tuning).to_pylist()[0]
    assert tuned["digest"] == plain["digest"]
    measured = ("measured_file_bytes", "measured_accuracy_loss", "measured_loss_upper", "measured_energy_nj")
    assert [tuned[name] for name in measured] != [plain[name] for name in measured]
    model = CompressedModel.load(tmp_path / "plain/front" / f"{tuned['digest']}.dc")
    for layer in model.layers:
        density = json.loads(tuned["choices"])[layer.name][0]
        assert (layer.codes != 0).mean() <= density + 1 / layer.codes.size


def test_a_study_killed_with_kill_9_loses_no_finished_trial_and_goes_on(
    analysis: CompressionAnalysis, tmp_path: Path
) -> None:
    process = start(tmp_path, 40)
    try:
        deadline = time.monotonic() + 120
        while len(finished_trials(tmp_path)) < 5:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    before = [trial.params for trial in finished_trials(tmp_path)]
    codesign(analysis, SPACE, Search(trials=len(before) + 3, verify=1), tmp_path)
    after = [trial.params for trial in finished_trials(tmp_path)]
    assert after[: len(before)] == before
    assert len(after) == len(before) + 3


@pytest.mark.skipif(os.name == "nt", reason="processes of Windows are not asked")
@pytest.mark.parametrize("ended", [True, False])
def test_a_compression_that_an_ended_process_began_keeps_its_place(
    ended: bool, analysis: CompressionAnalysis, tmp_path: Path
) -> None:
    problem = CodesignProblem(analysis, SPACE, Search(trials=6))
    undisturbed = [trial.choices for trial in run_study(problem, tmp_path / "undisturbed")]
    run_study(CodesignProblem(analysis, SPACE, Search(trials=6)), tmp_path / "marked", given=[undisturbed[0]])
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        if ended:
            other.communicate()
        study = optuna.load_study(study_name="codesign", storage=open_storage(tmp_path / "marked"))
        study.set_user_attr(f"begun by {socket.gethostname()}-{other.pid}", compression_key(undisturbed[1]))
        found = [trial.choices for trial in run_study(problem, tmp_path / "marked")]
    assert (found == undisturbed) is ended
    assert undisturbed[1] == found[1] if ended else undisturbed[1] not in found[:2]


def test_two_processes_work_on_one_study(tmp_path: Path) -> None:
    processes = [start(tmp_path, 24, together=2) for _ in range(2)]
    said = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    trials = finished_trials(tmp_path)
    different = {json.dumps(trial.user_attrs[RECORD]["choices"]) for trial in trials}
    assert 24 <= len(different) <= 25  # both may begin the last one
    assert read_results(tmp_path / "trials.parquet", TRIAL_COLUMNS)[0].num_rows == len(different)
    assert len({trial.user_attrs["worker"] for trial in trials}) == 2
    assert read_results(tmp_path / "front.parquet", FRONT_COLUMNS)[0].num_rows == 2


def test_an_interrupt_shows_how_far_the_study_came_and_loses_no_finished_trial(
    analysis: CompressionAnalysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    problem = CodesignProblem(analysis, SPACE, Search(trials=6))
    whole, seen = Enumeration.__call__, []

    def interrupted(self: Enumeration, choices: Any, places: Any = None) -> Any:
        seen.append(choices)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return whole(self, choices, places)

    monkeypatch.setattr(Enumeration, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_study(problem, tmp_path)
    assert "co-design stopped: 3 of 6 compressions" in capsys.readouterr().err
    trials = run_study(problem, tmp_path)
    assert len(trials) == 6
    assert seen[4] == seen[3]


def test_a_full_disk_gets_a_sentence_and_loses_no_finished_trial(analysis: CompressionAnalysis, tmp_path: Path) -> None:
    script = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from designs.codesigns import storage as study_storage\n"
        "whole = study_storage.JournalFileBackend.append_logs\n"
        "def append(self, logs):\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))\n"
        "    whole(self, logs)\n"
        "study_storage.JournalFileBackend.append_logs = append\n"
    )
    command = [sys.executable, "-c", script + SCRIPT, str(tmp_path), "60", "1"]
    done = subprocess.run(command, env=environment_with(), cwd=PROJECT, capture_output=True, text=True, check=False)
    assert "InputError" in done.stderr
    assert "the study cannot be written: File too large; finished trials are kept; make room and run" in done.stderr
    before = [trial.params for trial in finished_trials(tmp_path)]
    assert len(before) > 3
    codesign(analysis, SPACE, Search(trials=len(before) + 2, verify=1), tmp_path)
    assert [trial.params for trial in finished_trials(tmp_path)][: len(before)] == before


def test_a_line_that_a_killed_writer_left_unfinished_does_not_spoil_the_journal(tmp_path: Path) -> None:
    study = optuna.create_study(storage=open_storage(tmp_path), study_name="x")
    study.add_trial(optuna.trial.create_trial(value=1.0))
    with (tmp_path / JOURNAL_FILE).open("ab") as stream:
        stream.write(b'{"op_code": 4, "tri')
    study = optuna.load_study(study_name="x", storage=open_storage(tmp_path))
    study.add_trial(optuna.trial.create_trial(value=2.0))
    found = optuna.load_study(study_name="x", storage=open_storage(tmp_path))
    assert [trial.value for trial in found.trials] == [1.0, 2.0]


def test_progress_states_trials_rate_the_front_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    with StudyProgress(("latency_us", "area_mm2"), 10, 2) as progress:
        assert (
            "2 of 10 compressions, 0.0 per second; no design keeps the bounds yet; time left unknown" in progress.line()
        )
        progress.add(np.array([[3.0, 1.0], [1.0, 2.0]]))
        progress.add(np.array([[4.0, 4.0]]))
        progress.advance_to(5)
        assert progress.best == "front of 2; best of each objective: latency_us 1, area_mm2 1"
        assert "s left" in progress.line()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"objectives": ()}, "objectives must be one or more of accuracy_loss, output_error, latency_us, energy_nj"),
        ({"objectives": ("speed",)}, "an objective must be one of .*; found .speed"),
        ({"bounds": {"speed": 1.0}}, "the figure of a bound must be one of accuracy_loss, output_error"),
        ({"bounds": {"area_mm2": 0}}, "the bound of area_mm2 must be a finite number above 0; found 0"),
        ({"exhaustive": 1}, "exhaustive must be true or false; found 1"),
        ({"settled": 1}, "settled must be a share, 0 to below 1; found 1"),
        ({"loss": "error"}, "loss must be one of auto, accuracy, answers, kl, cosine, relative-error"),
        ({"sampling_error": 1.0}, "sampling_error must be a share, 0 to below 1; found 1.0"),
        ({"trials": 0}, "trials must be a whole number from 1 to 2,147,483,647; found 0"),
        ({"verify": 0.5}, "verify must be a whole number from 1 to 2,147,483,647; found 0.5"),
    ],
)
def test_a_search_that_there_cannot_be_is_refused(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Search(**values)


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        (
            Space({}, {"density": 0.1}),
            "a space with compression must give density and weight_bits of every layer; found",
        ),
        (
            Space({}, {"density": 0.1, "weight_bits": 4, "index_bits": 4}),
            "compression.index_bits has no effect: the file's gaps have the width that takes the fewest bytes; leave",
        ),
        (
            Space({"pointer_bytes": 1024}),
            "SRAMs are fitted to the compressed layers, and stages to them and the clock, so pointer_bytes of the",
        ),
        (
            Space({}, {"layers": {"fc9": {"density": 0.1}}}),
            "compression.layers names fc9, which the network does not have; it has conv, fc1, fc2",
        ),
    ],
)
def test_a_space_without_effect_is_refused(analysis: CompressionAnalysis, space: Space, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        CodesignProblem(analysis, space, Search())


def test_a_design_that_there_cannot_be_is_left_out(analysis: CompressionAnalysis, tmp_path: Path) -> None:
    space = Space({"line_bits": (4, 64), "num_pes": (1, 2)})
    trials = run_study(CodesignProblem(analysis, space, Search(trials=12)), tmp_path)
    assert len(trials) == 12
    assert {trial.tried for trial in trials} == {4}
    assert {int(bits) for trial in trials for bits in trial.designs.hardware["line_bits"]} == {64}
    problem = CodesignProblem(analysis, Space({"weight_bits": 2}), Search())
    wide = {name: Choice(0.5, 4) for name in analysis.names}
    with pytest.raises(InputError, match="codes of 4 bits are wider than the array's, 2"):
        problem.predict(Design(ArrayConfig(weight_bits=2)), wide)
    assert problem.enumeration(wide).refused == "codes of 4 bits are wider than any array's"


def test_a_folder_that_holds_another_study_is_refused(
    finished: tuple[Path, Any], analysis: CompressionAnalysis
) -> None:
    folder = finished[0]
    other = dataclasses.replace(SMALL, bounds={"area_mm2": 2.0})
    with pytest.raises(
        InputError, match="holds another study, of which search differ; give another folder, or fresh=True"
    ):
        codesign(analysis, SPACE, other, folder)
    fewer = dataclasses.replace(SMALL, objectives=("area_mm2",))
    with pytest.raises(
        InputError, match="holds another study, of which search differ; give another folder, or fresh=True"
    ):
        codesign(analysis, SPACE, fewer, folder)


def test_storages_and_folders_that_cannot_be_used_get_a_sentence(analysis: CompressionAnalysis, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the study's storage cannot be opened: "):
        codesign(analysis, SPACE, SMALL, tmp_path, storage="nothing://there")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written: "):
        codesign(analysis, SPACE, SMALL, tmp_path / "file")


def test_networks_that_do_not_fit_together_are_refused() -> None:
    network = small_network()
    with pytest.raises(InputError, match="pool: there must be a label for each input; found 2 for 300 inputs"):
        dataclasses.replace(network, labels=np.arange(2))
    with pytest.raises(InputError, match="the pool has labels, so the evaluation needs its own"):
        dataclasses.replace(network, evaluation_labels=None)
    with pytest.raises(InputError, match="accuracy on the test images needs their labels; give test_labels"):
        dataclasses.replace(network, test_labels=None)
    table = torch.nn.Embedding(9, 4)
    with pytest.raises(InputError, match=r"table: a layer that can be compressed must be multiplied .*; found weight"):
        analyse_compression(TrainedNetwork("table", table, np.arange(8)[:, None]), loss="cosine")
    with pytest.raises(InputError, match="epochs must be a whole number of at least 1; found 0"):
        Distillation(network, 0)


def test_without_labels_a_changed_answer_counts_as_lost(tmp_path: Path) -> None:
    network = dataclasses.replace(small_network(), labels=None, evaluation=None, evaluation_labels=None)
    table = codesign(network, SPACE, Search(trials=6, verify=3), tmp_path)
    for row in table.to_pylist():
        assert row["measured_accuracy_loss"] == pytest.approx(1 - row["accuracy"])


def test_an_exhaustive_search_states_how_much_of_the_true_front_the_trials_found(
    analysis: CompressionAnalysis, tmp_path: Path
) -> None:
    search = dataclasses.replace(SMALL, trials=8, exhaustive=True)
    table = codesign(analysis, SPACE, search, tmp_path, workers=2)
    found = read_results(tmp_path / "front.parquet", FRONT_COLUMNS)[1]["settings"]["quality"]["regret"]
    assert 0.5 < found["hypervolume"] <= 1
    assert found["matched"] <= 1 <= found["worst"]
    assert found["compressions"] > 8
    assert found["designs"] == found["compressions"] * len(CodesignProblem(analysis, SPACE, search).enumeration.grid)
    assert table.num_rows == SMALL.verify
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "front").iterdir()}
    assert codesign(analysis, SPACE, search, tmp_path).to_pylist() == table.to_pylist()
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "front").iterdir()} == before
