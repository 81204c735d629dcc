"""Attention and rotary embeddings."""

from __future__ import annotations

import torch
from torch import Tensor

from compress.graph_module.operator_table import operator
from traces import InputError


def _by_head(x: Tensor, heads: int | None) -> Tensor:
    """Return [batch, heads, steps, size] from this or from [batch, steps, heads * size]."""
    if x.ndim == 4:
        return x
    if heads is None:
        raise InputError("attention of three axes must have numbers of heads; found none; give them")
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


@operator("Attention", is_causal=(0, 1), softmax_precision=(1,))
def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    *,
    is_causal: int = 0,
    kv_num_heads: int | None = None,
    q_num_heads: int | None = None,
    scale: float | None = None,
    softcap: float = 0.0,
    softmax_precision: int = 1,
) -> Tensor:
    flat = query.ndim == 3
    query, key, value = (
        _by_head(x, heads) for x, heads in ((query, q_num_heads), (key, kv_num_heads), (value, kv_num_heads))
    )
    repeats = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    if is_causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(later, float("-inf"))
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    attending = (scores > float("-inf")).any(-1, keepdim=True)  # a query without keys gives zeros
    outputs = (torch.softmax(torch.where(attending, scores, 0.0), -1) * attending) @ value
    return outputs.transpose(1, 2).flatten(2) if flat else outputs


@operator("RotaryEmbedding", interleaved=(0, 1))
def _rotary_embedding(
    x: Tensor,
    cosines: Tensor,
    sines: Tensor,
    positions: Tensor | None = None,
    *,
    interleaved: int = 0,
    num_heads: int | None = None,
    rotary_embedding_dim: int = 0,
) -> Tensor:
    parts = x.transpose(1, 2) if x.ndim == 4 else x.reshape(*x.shape[:2], num_heads or 1, -1)
    size = rotary_embedding_dim or parts.shape[-1]
    turned, rest = parts[..., :size], parts[..., size:]
    if positions is not None:
        cosines, sines = cosines[positions], sines[positions]
    cosines, sines = cosines[:, :, None, : size // 2], sines[:, :, None, : size // 2]
    first, second = (turned[..., ::2], turned[..., 1::2]) if interleaved else turned.chunk(2, -1)
    real, imaginary = first * cosines - second * sines, first * sines + second * cosines
    turned = torch.stack([real, imaginary], -1).flatten(-2) if interleaved else torch.cat([real, imaginary], -1)
    outputs = torch.cat([turned, rest], -1)
    return outputs.transpose(1, 2) if x.ndim == 4 else outputs.flatten(2)
