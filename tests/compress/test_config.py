from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress import CompressionConfig
from compress.config import LayerSettings
from compress.container.layer_coding import CodingChoice
from tests.bad_values import BAD_JSON, BAD_TOML, NO_NUMBERS, NO_OBJECTS, NO_TEXTS, NO_WHOLE_NUMBERS
from traces import InputError

WHOLE = [
    (LayerSettings, "weight_bits"),
    (LayerSettings, "balanced_over"),
    (LayerSettings, "codebook_bits"),
    (LayerSettings, "index_bits"),
    (LayerSettings, "num_pes"),
    (CompressionConfig, "pruning_steps"),
    (CompressionConfig, "reassign_every"),
    (CompressionConfig, "tensor_bits"),
    (CompressionConfig, "seed"),
    (CodingChoice, "index_bits"),
    (CodingChoice, "num_pes"),
]
TEXTS = [
    (LayerSettings, "initialisation"),
    (LayerSettings, "scan_order"),
    (LayerSettings, "coder"),
    (CompressionConfig, "criterion"),
    (CompressionConfig, "sharing"),
    (CodingChoice, "scan_order"),
    (CodingChoice, "coder"),
]
MAY_BE_NONE = {"index_bits", "scan_order"}


@pytest.mark.parametrize(("kind", "field"), WHOLE, ids=lambda value: getattr(value, "__name__", value))
@pytest.mark.parametrize("value", NO_WHOLE_NUMBERS.values(), ids=NO_WHOLE_NUMBERS)
def test_an_option_that_is_no_whole_number_is_refused(kind: type, field: str, value: Any) -> None:
    if value is None and field in MAY_BE_NONE:
        return
    with pytest.raises(InputError, match=f"{field} must be a whole number"):
        kind(**{field: value})


@pytest.mark.parametrize("value", NO_NUMBERS.values(), ids=NO_NUMBERS)
def test_a_density_that_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="density must be a finite number"):
        LayerSettings(density=value)


@pytest.mark.parametrize(("kind", "field"), TEXTS, ids=lambda value: getattr(value, "__name__", value))
@pytest.mark.parametrize("value", NO_TEXTS.values(), ids=NO_TEXTS)
def test_an_option_that_is_no_text_is_refused(kind: type, field: str, value: Any) -> None:
    if value is None and field in MAY_BE_NONE:
        return
    with pytest.raises(InputError, match=f"{field} must be one of"):
        kind(**{field: value})


@pytest.mark.parametrize("field", ["every", "types", "layers"])
@pytest.mark.parametrize("value", NO_OBJECTS.values(), ids=NO_OBJECTS)
def test_options_that_are_no_object_are_refused(field: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{field} must be values by name"):
        CompressionConfig.from_dict({field: value})


@pytest.mark.parametrize("content", BAD_JSON.values(), ids=BAD_JSON)
def test_bad_json_is_no_config(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=r"config\.json: the config: "):
        CompressionConfig.load(tmp_path / "config.json")


@pytest.mark.parametrize("content", BAD_TOML.values(), ids=BAD_TOML)
def test_bad_toml_is_no_config(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(content)
    with pytest.raises(InputError, match=r"config\.toml: the config: "):
        CompressionConfig.load(tmp_path / "config.toml")


def test_numbers_of_numpy_become_plain_numbers() -> None:
    settings = LayerSettings(density=np.float32(0.5), weight_bits=np.int64(3))  # type: ignore[arg-type]
    assert settings == LayerSettings(density=0.5, weight_bits=3)
    assert json.dumps(dataclasses.asdict(settings))
