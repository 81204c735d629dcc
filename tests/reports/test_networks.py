"""Tables of real networks."""

from __future__ import annotations

from designs.result_files import NETWORK_STEPS, NETWORKS_COLUMNS
from reports.networks import networks_markdown


def test_the_tables_show_each_network_with_its_figures_and_seconds() -> None:
    row: dict[str, object] = {column.name: 1234.5 for column in NETWORKS_COLUMNS}
    whole = {column.name: 1234 for column in NETWORKS_COLUMNS if str(column.type) == "int64"}
    row |= whole | {"network": "net", "kinds": "LSTM, Linear", "largest_difference": 3e-7, "output_difference": 1.2e-5}
    text = networks_markdown([row], NETWORK_STEPS)
    assert "| net " in text
    assert "1234 (LSTM, Linear)" in text
    assert "3.0e-07" in text
    assert "1.2e-05" in text
    assert "| 1.2 " in text  # nJ, of pJ
    for step in NETWORK_STEPS:
        assert f" {step} " in text
