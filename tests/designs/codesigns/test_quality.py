"""Distance of a front from the true one, and estimates without it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: install the extra 'train'")

from designs import Search, Space  # noqa: E402
from designs.codesigns.compressions import CompressionAnalysis, analyse_compression  # noqa: E402
from designs.codesigns.loop import run_study  # noqa: E402
from designs.codesigns.problem import CodesignProblem  # noqa: E402
from designs.codesigns.quality import gap, growth, quality, regret  # noqa: E402
from designs.codesigns.trials import Front  # noqa: E402
from tests.array_places import places_of  # noqa: E402
from tests.small_network import small_network  # noqa: E402

TWO = ("accuracy_loss", "latency_us")


@pytest.fixture(scope="module")
def analysis() -> CompressionAnalysis:
    return analyse_compression(small_network())


def test_the_true_front_has_no_regret_and_a_part_of_it_has_some() -> None:
    true = np.array([[0.0, 100.0], [0.05, 30.0], [0.1, 10.0]])
    whole = regret(TWO, true, true)
    assert (whole.hypervolume, whole.found, whole.matched, whole.worst) == (1, 1, 1, 1)
    part = regret(TWO, true[[0, 2]], true)
    assert part.hypervolume == 0  # both ends of the box dominate none of it
    assert part.found == part.matched == pytest.approx(2 / 3)
    assert part.worst == pytest.approx(1.5)  # half of the largest loss more, or 70 us
    near = regret(TWO, true * np.array([1.0, 1.04]), true)
    assert (near.found, near.matched) == (0, 1)
    assert near.worst == pytest.approx(1.04)


def test_a_front_that_is_better_than_the_true_one_says_so() -> None:
    true = np.array([[0.0, 100.0], [0.05, 30.0], [0.1, 10.0]])
    assert regret(TWO, true * np.array([1.0, 0.9]), true).hypervolume > 1


def test_growth_is_what_the_last_quarter_adds(analysis: CompressionAnalysis, tmp_path: Path) -> None:
    problem = CodesignProblem(analysis, Space({"num_pes": (1, 4)}), Search(trials=20))
    trials = run_study(problem, tmp_path)
    objectives = problem.search.objectives
    grown = growth(trials, objectives)
    assert 0 <= grown < 0.5
    assert growth([*trials, *trials[:10]], objectives) <= grown
    assert growth(trials[:1], objectives) == 1
    assert quality(problem, trials)["growth"] == grown


def test_no_compression_beats_the_relaxation_on_its_array(analysis: CompressionAnalysis, tmp_path: Path) -> None:
    space = Space({"num_pes": (1, 4, 16), "queue_slots": (2, 8), "weight_bits": (2, 3, 4)})
    problem = CodesignProblem(analysis, space, Search(trials=6))
    trials = run_study(problem, tmp_path)
    mean, largest = gap(problem, trials)
    assert 0 <= mean <= largest < 1
    compressions, enumeration = problem.compressions, problem.enumeration
    every = [compressions.choices(row) for rows in compressions.all_compressions() for row in rows]
    front = Front.of(trials, problem.search.objectives)
    for at in range(0, len(front), max(1, len(front) // 5)):
        trial = trials[front.trials[at]]
        design = trial.designs.design(int(front.places[at]))
        width, place = design.array.weight_bits, places_of(enumeration.grid, trial.designs.hardware)[front.places[at]]
        change = float(compressions.changes_of(compressions.row(trial.choices))[0])
        cycles = np.full(compressions.change.shape, np.inf)
        for layer, name in enumerate(compressions.names):
            for candidate in compressions.best_by_density(layer, width):
                choice = compressions.candidates[layer][candidate].choice
                cycles[layer, candidate] = enumeration.least_cycles(design, name, choice)
        bound = float(compressions.least_costs(cycles, np.array([change]), width)[0]) + enumeration.fixed_cycles(design)
        for choices in every:
            changes = float(compressions.changes_of(compressions.row(choices))[0])
            widest = max(choice.weight_bits for choice in choices.values())
            if changes <= change and enumeration.grid.width(widest) == width:
                found = enumeration(choices, np.array([place]))
                if len(found.designs):
                    assert found.designs.figures["latency_us"][0] * design.array.clock_mhz >= bound * (1 - 1e-9)
