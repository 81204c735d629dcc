"""Measurement of the masks of pruned layers, the table of it, and the check of the masks drawn with it."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pytest

from designs.commands.experiment import unevenness
from designs.experiments.unevenness import (
    FORMS,
    PrunedLayer,
    active_columns_gain,
    check_unevenness,
    measure_unevenness,
    predicted_unevenness,
    regularities,
)
from designs.result_files import UNEVENNESS_COLUMNS
from sim import ArrayConfig, Counts, count
from tests.conftest import PROJECT, real_file
from traces import (
    CompressedLayer,
    InputError,
    Unevenness,
    draw_uneven_layer,
    measured_unevenness,
    open_layer,
    unevenness_of,
)
from traces.arrays import Floats32
from traces.files.npz import read_layer_and_input
from traces.unevenness import FIELDS, MEASURED_FILE, read_measured, typical_unevenness

CONTAINERS = PROJECT / "tests/containers"


def row(network: str, pruning: str, kind: str, **parameters: float) -> dict[str, str]:
    """Return a row of the table of measured layers."""
    given = Unevenness(**parameters, fullest_classes=(1.0, 1.1, 1.2))  # type: ignore[arg-type]
    known = {"network": network, "pruning": pruning, "layer": "a", "kind": kind}
    return {**known, "rows": "100", "columns": "200", "density": "0.1000", **given.row()}


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    lines = [",".join(FIELDS), *(",".join(each[name] for name in FIELDS) for each in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_groups_weigh_the_same_in_what_is_typical() -> None:
    rows = [row("A", "p", "fully connected", row_spread=spread) for spread in (0.1, 0.1, 0.1, 0.1, 0.2)]
    rows += [row("B", "p", "fully connected", row_spread=0.3), row("B", "q", "fully connected", row_spread=0.5)]
    assert typical_unevenness(rows).row_spread == 0.3
    assert typical_unevenness(rows).fullest_classes == ()
    blocks = {"block_rows": 64, "block_spread": 0.2, "dead_rows": 0.1, "dead_clustering": 0.3}
    heads = [row(name, "p", "attention", **blocks) for name in "AB"]
    assert vars(typical_unevenness(heads)) | blocks == vars(typical_unevenness(heads))
    most_without = [*heads, *(row(name, "p", "attention", dead_rows=0.1) for name in "CD")]
    assert typical_unevenness(most_without) == Unevenness(dead_rows=0.1)


def test_a_layer_is_predicted_from_the_layers_of_its_kind_in_other_groups() -> None:
    rows = [
        row("A", "p", "attention", row_spread=0.1),
        row("A", "q", "attention", row_spread=0.2),
        row("B", "p", "convolution", row_spread=0.7),
    ]
    assert predicted_unevenness(rows, rows[0]).row_spread == 0.2
    assert predicted_unevenness(rows, rows[2]).row_spread == pytest.approx(0.15)  # no other has its kind: of all


def test_each_form_of_the_model_has_what_its_name_says() -> None:
    own = Unevenness(0.3, 0.2, 64, 0.4, 2.0, 0.1, 0.05, 0.5, (1.1, 1.2, 1.3))
    forms = {name: form(own) for name, form in FORMS.items()}
    assert forms["random"] == Unevenness()
    assert forms["spreads"] == Unevenness(0.5, 0.2)
    assert forms["dead"] == Unevenness(0.5, 0.2, dead_rows=0.1, dead_columns=0.05)
    assert forms["blocks"] == Unevenness(0.3, 0.2, 64, 0.4, 0.0, 0.1, 0.05, 0.5)
    assert forms["tails"] == Unevenness(0.3, 0.2, 64, 0.4, 2.0, 0.1, 0.05, 0.5)
    assert forms["own"] == own


def test_what_is_taken_is_typical_of_the_fully_connected_layers_measured() -> None:
    rows = [row for row in read_measured() if row["kind"] == "fully connected"]
    groups: dict[str, list[float]] = {}
    for each in rows:
        groups.setdefault(each["network"] + each["pruning"], []).append(float(each["row_spread"]))
    assert len(rows) >= 15
    assert len(groups) >= 7
    assert measured_unevenness().row_spread == pytest.approx(median(map(median, groups.values())))


def sources(data: Path) -> None:
    """Skip if a source of the table is absent."""
    for parts in (("alex8", "alex8.npz"), ("squeezenet_deep_compression", "compressed_SqueezeNet.net")):
        real_file(data, *parts)
    real_file(data, "dlmc")


def test_the_table_in_the_repository_is_what_the_measurement_gives(data: Path, tmp_path: Path) -> None:
    sources(data)
    measure_unevenness(data, CONTAINERS, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_text() == MEASURED_FILE.read_text()


@pytest.mark.slow
def test_masks_drawn_with_a_layer_s_own_unevenness_take_its_cycles(data: Path, tmp_path: Path) -> None:
    sources(data)
    rows = [
        each
        for each in check_unevenness(data, CONTAINERS, read_measured(), tmp_path / "check.parquet", 2).to_pylist()
        if each["main"]
    ]
    assert set(rows[0]) == {column.name for column in UNEVENNESS_COLUMNS}
    errors = np.abs([each["own_difference"] for each in rows])
    assert len(errors) == len(read_measured())
    assert errors.mean() < 0.02
    assert errors.max() < 0.13
    assert np.mean(np.abs([each["spreads_difference"] for each in rows])) > 2 * errors.mean()


def test_an_interrupted_check_continues_after_its_finished_layers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = [draw_uneven_layer(name, 40, 30, 0.2, 0.5, 1, Unevenness())[0] for name in ("first", "second", "third")]
    layers = [PrunedLayer("A", layer.name, "convolution", layer) for layer in drawn]
    rows = [row("A", name, "convolution") | {"layer": name} for name in ("first", "second", "third")]
    counted: list[str] = []
    interrupts = True

    def counting(layer: CompressedLayer, activations: Floats32, array: ArrayConfig) -> Counts:
        counted.append(layer.name)
        if interrupts and counted.count("second") == 3:
            raise KeyboardInterrupt
        return count(layer, activations, array)

    def check(folder: str, draws: int = 2) -> pa.Table:
        counted.clear()
        return check_unevenness(tmp_path, tmp_path, rows, tmp_path / folder / "check.parquet", draws)

    monkeypatch.setattr("designs.experiments.unevenness.pruned_layers", lambda *_: layers)
    monkeypatch.setattr("designs.experiments.unevenness.count", counting)
    with pytest.raises(KeyboardInterrupt):
        check("out")
    assert not (tmp_path / "out" / "check.parquet").exists()
    interrupts = False
    continued = check("out")
    assert set(counted) == {"second", "third"}
    assert check("out") == continued
    assert not counted
    assert check("new") == continued
    assert set(counted) == {"first", "second", "third"}
    check("out", draws=3)
    assert set(counted) == {"first", "second", "third"}


def test_a_folder_without_the_project_s_containers_is_named(tmp_path: Path, data: Path) -> None:
    sources(data)
    with pytest.raises(InputError, match=r"containers must be the folder .*; found no lenet_300_100\.dc in .*; give"):
        measure_unevenness(data, tmp_path, tmp_path / "table.csv")


def test_a_layer_whose_heads_are_nearly_dead_takes_the_cycles_of_masks_drawn_like_it(data: Path) -> None:
    """Rows in any order take a third longer: interleaving deals each PE a row of each head."""
    folder = real_file(data, "dlmc") / "transformer" / "l0_regularization"
    layer = open_layer(folder / "body_decoder_layer_0_encdec_attention_multihead_attention_k.smtx")[0]
    own = unevenness_of(layer)
    assert own.block_rows == 64
    assert own.block_spread > 4 * own.row_spread

    def mean_cycles(given: Unevenness | None) -> float:
        cycles = []
        for seed in range(4):
            drawn, values = draw_uneven_layer("drawn", 512, 512, layer.density, 0.4, seed, given or Unevenness())
            cycles.append(count(layer if given is None else drawn, values).cycles)
        return float(np.mean(cycles))

    real = mean_cycles(None)
    assert mean_cycles(own) == pytest.approx(real, rel=0.08)
    assert mean_cycles(FORMS["spreads"](own)) > 1.2 * real


def test_a_mask_as_uneven_as_alex_8_takes_its_cycles_to_one_per_cent_and_a_random_one_fewer(data: Path) -> None:
    real, values = read_layer_and_input(real_file(data, "alex8", "alex8.npz"))
    cycles = count(real, values).cycles

    def mean_cycles(unevenness: Unevenness) -> float:
        shape = (real.rows, real.columns, real.density, 0.4)
        layers = [draw_uneven_layer("drawn", *shape, seed, unevenness)[0] for seed in range(3)]
        return float(np.mean([count(layer, values).cycles for layer in layers]))

    assert mean_cycles(unevenness_of(real)) == pytest.approx(cycles, rel=0.01)
    assert mean_cycles(Unevenness()) < 0.985 * cycles


def test_the_measured_spreads_do_not_go_with_density_and_alex_8_s_inputs_not_with_its_columns(data: Path) -> None:
    by_size = {(each.spread, each.size): each for each in regularities(read_measured())}
    assert len(by_size) == 6
    for spread in ("row_spread", "column_spread"):
        assert abs(by_size[spread, "density"].correlation) < 0.5
    layer, values = read_layer_and_input(real_file(data, "alex8", "alex8.npz"))
    assert abs(active_columns_gain(layer, values)) < 0.01


def test_bad_input_is_refused_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CODESIGN_DATA", raising=False)
    with pytest.raises(InputError, match="are not part of this project; give their folder with --data DIR"):
        unevenness(table=tmp_path / "table.csv", out=tmp_path)
    table = tmp_path / "table.csv"
    with pytest.raises(InputError, match="must be a table of measured layers; reading it failed"):
        read_measured(table)
    good = row("A", "p", "convolution", row_spread=0.1)
    for content in ("network,layer\nA,b\n", ",".join(FIELDS) + "\n", ",".join(FIELDS) + "\nA,b,c\n"):
        table.write_text(content)
        with pytest.raises(InputError, match="must have the columns network, pruning, layer, kind"):
            read_measured(table)
    for name, value, sentence in (("row_spread", "-1", "row_spread must be"), ("dead_rows", "x", "could not convert")):
        with pytest.raises(InputError, match=f"reading it failed: {sentence}"):
            read_measured(write(table, [good | {name: value}]))
    with pytest.raises(InputError, match="lists no fully connected layer"):
        measured_unevenness(write(table, [good]))
