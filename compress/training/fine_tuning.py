"""Training of a network whose weights are free, masked or shared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.utils import parametrize

from compress.class_scores import check_form, check_labels
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
    half a cosine. Raises InputError if labels are not the places of outputs, the module does not give [samples,
    classes], or the loss stops being a number.
    """
    labels = check_labels("labels", labels, len(images))
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=learning_rate)
    steps_per_epoch = -(-len(images) // batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, epochs * steps_per_epoch))
    inputs, targets = torch.from_numpy(images), torch.from_numpy(labels)
    order = torch.Generator().manual_seed(seed)
    highest = int(labels.max(initial=0))
    module.train()
    for epoch in range(epochs):
        total_loss = 0.0
        for batch in torch.split(torch.randperm(len(inputs), generator=order), batch_size):
            optimizer.zero_grad(set_to_none=True)
            outputs = module(inputs[batch])
            check_form("the module's outputs", outputs, len(batch))
            if outputs.shape[1] <= highest:
                check_labels("labels", labels, len(images), outputs.shape[1])
            loss = torch.nn.functional.cross_entropy(outputs, targets[batch])
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
    """Share of images whose largest output is that of their label.

    images [samples, ...], labels [samples]. Raises InputError if labels are not the places of outputs, or the module
    does not give [samples, classes].
    """
    labels = check_labels("labels", labels, len(images))
    module.eval()
    predicted = []
    with torch.no_grad():
        for part in torch.split(torch.from_numpy(images), 4096):
            outputs = module(part)
            check_form("the module's outputs", outputs, len(part))
            predicted.append(outputs.argmax(dim=1))
    check_labels("labels", labels, len(images), outputs.shape[1])
    return float((torch.cat(predicted) == torch.from_numpy(labels)).double().mean())


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


Owner = tuple[torch.nn.Module, str]
Assignment = tuple[npt.NDArray[Any], npt.NDArray[np.float32], npt.NDArray[Any] | None]
Share = Callable[[npt.NDArray[Any], npt.NDArray[np.bool_], npt.NDArray[Any] | None], Assignment]


class StraightThrough(torch.nn.Module):
    """A weight that is, in every forward pass, the nearest centroid of itself, and is trained as if it were free.

    Codes and centroids follow the weight: they are found again every so many forward passes in training. Source: the
    straight-through estimator, Bengio, Leonard, Courville, 2013.
    """

    mask: torch.Tensor
    passes: torch.Tensor

    def __init__(
        self, owner: Owner, bias: Owner | None, share: Share, mask: npt.NDArray[np.bool_], reassign_every: int
    ) -> None:
        super().__init__()
        self.register_buffer("mask", torch.from_numpy(mask))
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))
        self.owners = [owner, bias]  # a list, so that they are no part of this module
        self.share, self.reassign_every = share, reassign_every
        self.latest: Assignment | None = None

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        if self.latest is None or (self.training and int(self.passes) % self.reassign_every == 0):
            self.assign()
        if self.training:
            self.passes += 1
        assert self.latest is not None
        codes, codebook, _ = self.latest
        masked = weight * self.mask
        return masked + (torch.from_numpy(codebook[codes]) - masked).detach()

    def assign(self) -> Assignment:
        """Find codes and centroids of the weight and the bias as they are now."""
        weight, bias = (None if owner is None else _original(owner) for owner in self.owners)
        assert weight is not None
        mask = self.mask.numpy()
        self.latest = self.share(weight * mask, mask, bias)
        return self.latest


class StraightThroughBias(torch.nn.Module):
    """The bias of a weight that is `StraightThrough`, in the same codebook."""

    def __init__(self, of: StraightThrough) -> None:
        super().__init__()
        self.of = [of]  # a list, so that it is no part of this module

    def forward(self, bias: torch.Tensor) -> torch.Tensor:
        if self.of[0].latest is None:
            return bias
        _, codebook, codes = self.of[0].latest
        return bias + (torch.from_numpy(codebook[codes]) - bias).detach()


def mask_weight(owners: Sequence[Owner], mask: npt.NDArray[np.bool_]) -> None:
    """Prune: from now on the weight is zero where `mask` is False, wherever it is tied. Changes an earlier mask."""
    module, attribute = owners[0]
    if parametrize.is_parametrized(module, attribute):
        masked = module.parametrizations[attribute][0]  # type: ignore[index]
        assert isinstance(masked, MaskedWeight)
        masked.mask.copy_(torch.from_numpy(mask))
        return
    masked = MaskedWeight(mask)
    for module, attribute in owners:
        parametrize.register_parametrization(module, attribute, masked)


def share_parameters(
    owners: Sequence[Owner],
    bias: Owner | None,
    codes: npt.NDArray[Any],
    codebook: npt.NDArray[np.float32],
    bias_codes: npt.NDArray[Any] | None,
) -> list[SharedWeight]:
    """Share: from now on the weight, and the bias, are looked up in one codebook, whose centroids are trained.

    Returns what looks the weight up, and what the bias, if there is one.
    """
    centroids = torch.nn.Parameter(torch.from_numpy(codebook[1:].copy()))
    lookups = [SharedWeight(codes, centroids)]
    places = [(owner, lookups[0]) for owner in owners]
    if bias is not None and bias_codes is not None:
        lookups.append(SharedWeight(bias_codes, centroids))
        places.append((bias, lookups[1]))
    for (module, attribute), lookup in places:
        _restore(module, attribute)
        getattr(module, attribute).requires_grad_(False)
        parametrize.register_parametrization(module, attribute, lookup)
    return lookups


def straight_through(
    owners: Sequence[Owner], bias: Owner | None, share: Share, mask: npt.NDArray[np.bool_], reassign_every: int
) -> StraightThrough:
    """Share jointly: from now on the weight and the bias are the centroids nearest to what is trained."""
    shared = StraightThrough(owners[0], bias, share, mask, reassign_every)
    for module, attribute in owners:
        _restore(module, attribute)
        parametrize.register_parametrization(module, attribute, shared, unsafe=True)
    if bias is not None:
        parametrize.register_parametrization(*bias, StraightThroughBias(shared))
    shared.assign()
    return shared


def _original(owner: Owner) -> npt.NDArray[np.float32]:
    """What is trained, behind a parametrization."""
    module, attribute = owner
    if parametrize.is_parametrized(module, attribute):  # whose value would be found by asking here again
        parameter = module.parametrizations[attribute].original  # type: ignore[index, union-attr]
    else:
        parameter = getattr(module, attribute)
    values: npt.NDArray[np.float32] = parameter.detach().numpy()
    return values


def _restore(module: torch.nn.Module, attribute: str) -> None:
    """Take a parametrization away, and keep what it made of the weight."""
    if parametrize.is_parametrized(module, attribute):
        parametrize.remove_parametrizations(module, attribute)


def refresh_recurrent(module: torch.nn.Module) -> None:
    """Make recurrent layers look their weights up before each forward pass: they keep a list of them otherwise."""
    for part in module.modules():
        if isinstance(part, torch.nn.RNNBase):
            part.register_forward_pre_hook(_look_up)


def _look_up(part: torch.nn.Module, _: object) -> None:
    assert isinstance(part, torch.nn.RNNBase)
    part._flat_weights = [getattr(part, name) for name in part._flat_weights_names]
