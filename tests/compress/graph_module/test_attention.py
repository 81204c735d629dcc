import numpy as np
import pytest

from tests.compress.graph_module.twins import assert_as_in_onnx_runtime
from traces.arrays import Numbers

DRAW = np.random.default_rng(9)


def draw(*shape: int) -> Numbers:
    return DRAW.normal(size=shape).astype("f4")


Q, K, V = draw(2, 4, 3, 8), draw(2, 2, 5, 8), draw(2, 2, 5, 6)


def test_attention() -> None:
    assert_as_in_onnx_runtime("Attention", [Q, K, V], 23)
    assert_as_in_onnx_runtime("Attention", [Q, K, V, draw(3, 5)], 23, scale=0.2)
    assert_as_in_onnx_runtime("Attention", [Q, K, V, draw(2, 1, 3, 5) > -1], 23, softcap=2.0)
    assert_as_in_onnx_runtime("Attention", [Q, K[:, :, :3], V[:, :, :3]], 23, is_causal=1)
    flat = [draw(2, 3, 32), draw(2, 5, 16), draw(2, 5, 12)]
    assert_as_in_onnx_runtime("Attention", flat, 23, q_num_heads=4, kv_num_heads=2)


@pytest.mark.parametrize("interleaved", [0, 1])
def test_rotary_embeddings(interleaved: int) -> None:
    cosines, sines = draw(7, 4), draw(7, 4)
    places = np.array([[1, 2, 3], [4, 0, 6]])
    assert_as_in_onnx_runtime("RotaryEmbedding", [Q, cosines, sines, places], 23, interleaved=interleaved)
    assert_as_in_onnx_runtime(
        "RotaryEmbedding", [draw(2, 3, 16), cosines, sines, places], 23, interleaved=interleaved, num_heads=2
    )
    assert_as_in_onnx_runtime(
        "RotaryEmbedding",
        [Q, cosines[:, :2], sines[:, :2], places],
        23,
        interleaved=interleaved,
        rotary_embedding_dim=4,
    )
    assert_as_in_onnx_runtime("RotaryEmbedding", [Q, draw(2, 3, 4), draw(2, 3, 4)], 23, interleaved=interleaved)
