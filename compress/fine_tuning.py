"""Training of a network whose weights are free, masked or shared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.utils import parametrize

from traces import InputError


def train(
    module: torch.nn.Module,
    images: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    epochs: int,
    learning_rate: float,
    batch_size: int = 64,
    seed: int = 0,
    after_epoch: Callable[[], object] = lambda: None,
) -> None:
    """Minimise the cross-entropy of `module` on labelled images with Adam, the rate falling to zero.

    images [samples, ...], labels [samples]. The same seed gives the same order of samples. The rate follows
    half a cosine. Raises InputError if the loss stops being a number.
    """
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=learning_rate)
    steps_per_epoch = -(-len(images) // batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, epochs * steps_per_epoch))
    inputs, targets = torch.from_numpy(images), torch.from_numpy(labels)
    order = torch.Generator().manual_seed(seed)
    module.train()
    for epoch in range(epochs):
        total_loss = 0.0
        for batch in torch.split(torch.randperm(len(inputs), generator=order), batch_size):
            optimizer.zero_grad(set_to_none=True)
            loss = torch.nn.functional.cross_entropy(module(inputs[batch]), targets[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total_loss += loss.item()
        if not np.isfinite(total_loss):
            raise InputError(
                f"the loss must stay a number; it was lost in epoch {epoch + 1}; lower learning_rate={learning_rate}"
            )
        after_epoch()
    module.eval()


def accuracy(module: torch.nn.Module, images: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> float:
    """Share of images whose largest output is that of their label."""
    module.eval()
    with torch.no_grad():
        predicted = torch.cat([module(part).argmax(dim=1) for part in torch.split(torch.from_numpy(images), 4096)])
    return float((predicted == torch.from_numpy(labels)).double().mean())


class MaskedWeight(torch.nn.Module):
    """A weight whose pruned places are zero in every forward pass, whatever the optimiser's momentum does."""

    mask: torch.Tensor

    def __init__(self, mask: npt.NDArray[np.bool_]) -> None:
        super().__init__()
        self.register_buffer("mask", torch.from_numpy(mask))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * self.mask


class _Lookup(torch.autograd.Function):
    """codebook[codes]; the gradient of a shared weight is the sum over all places that share it."""

    @staticmethod
    def forward(ctx: Any, codebook: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(codes)
        ctx.length = len(codebook)
        return codebook[codes]

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (codes,) = ctx.saved_tensors
        sums = torch.bincount(codes.flatten(), weights=gradients[0].flatten(), minlength=ctx.length)
        return sums.to(gradients[0].dtype), None


class SharedWeight(torch.nn.Module):
    """A weight or bias that is looked up in a codebook; only the centroids are trained, the zero stays.

    Source: Han, Mao, Dally, "Deep Compression", ICLR 2016, section 3.3.
    """

    codes: torch.Tensor

    def __init__(self, codes: npt.NDArray[Any], centroids: torch.nn.Parameter) -> None:
        super().__init__()
        self.register_buffer("codes", torch.from_numpy(codes.astype(np.int64)))
        self.centroids = centroids

    def forward(self, original: torch.Tensor) -> torch.Tensor:
        codebook = torch.cat([torch.zeros(1), self.centroids])
        return _Lookup.apply(codebook, self.codes)  # type: ignore[no-any-return, no-untyped-call]


def mask_weight(layer: torch.nn.Module, mask: npt.NDArray[np.bool_]) -> None:
    """Prune: from now on `layer.weight` is zero where `mask` is False. Replaces an earlier mask."""
    if parametrize.is_parametrized(layer, "weight"):
        parametrize.remove_parametrizations(layer, "weight")
    parametrize.register_parametrization(layer, "weight", MaskedWeight(mask))


def share_parameters(
    layer: torch.nn.Module,
    codes: npt.NDArray[Any],
    codebook: npt.NDArray[np.float32],
    bias_codes: npt.NDArray[Any] | None,
) -> torch.nn.Parameter:
    """Share: from now on `layer.weight` and `layer.bias` are looked up in one codebook.

    Returns the trainable centroids, the codebook without its zero.
    """
    centroids = torch.nn.Parameter(torch.from_numpy(codebook[1:].copy()))
    shared = {"weight": codes} | ({} if bias_codes is None else {"bias": bias_codes})
    for name, its_codes in shared.items():
        if parametrize.is_parametrized(layer, name):
            parametrize.remove_parametrizations(layer, name)
        getattr(layer, name).requires_grad_(False)
        parametrize.register_parametrization(layer, name, SharedWeight(its_codes, centroids))
    return centroids
