"""Parametrizations that mask or share a module's weights while it is trained (PyTorch needed)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.utils import parametrize

from traces.arrays import Booleans, Floats32, Integers, Numbers

#: A module and the name of its parameter.
Owner = tuple[torch.nn.Module, str]
#: Codes of a weight, codebook, codes of the bias or None. With several codebooks [codebooks, shared weights], each code
#: is a place in all of them, one after the other.
Assignment = tuple[Integers, Floats32, Integers | None]
#: Makes an assignment from weights, the mask of those kept, and a bias or None.
Share = Callable[[Numbers, Booleans, Numbers | None], Assignment]


class MaskedWeight(torch.nn.Module):
    """Weight whose pruned entries are zero in every forward pass, even if the optimiser's momentum moves them."""

    mask: torch.Tensor

    def __init__(self, mask: Booleans) -> None:
        super().__init__()
        self.register_buffer("mask", torch.from_numpy(mask))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the weight with its pruned entries zero."""
        return weight * self.mask


class _Lookup(torch.autograd.Function):
    """Look-up codebook[codes]; the gradient of a shared weight is the sum over all entries that share it."""

    @staticmethod
    def forward(ctx: Any, codebook: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(codes)
        ctx.length = len(codebook)
        return codebook[codes]

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (codes,) = ctx.saved_tensors
        gradient = gradients[0].to_dense()  # that of an embedding may be sparse
        sums = torch.bincount(codes.flatten(), weights=gradient.flatten(), minlength=ctx.length)
        return sums.to(gradient.dtype), None


class SharedWeight(torch.nn.Module):
    """Weight or bias that is looked up in a codebook; only the centroids are trained, entry 0 stays zero.

    Source: Han, Mao, Dally, "Deep Compression", ICLR 2016, section 3.3.
    """

    codes: torch.Tensor

    def __init__(self, codes: Integers, centroids: torch.nn.Parameter) -> None:
        """Look codes up in centroids [shared weights], or in [codebooks, shared weights] one after the other."""
        super().__init__()
        self.register_buffer("codes", torch.from_numpy(codes.astype(np.int64)))
        self.centroids = centroids

    def forward(self, original: torch.Tensor) -> torch.Tensor:
        """Return the values of the codes."""
        centroids = self.centroids.reshape(-1, self.centroids.shape[-1])
        codebook = torch.cat([torch.zeros(len(centroids), 1), centroids], dim=1).flatten()
        return _Lookup.apply(codebook, self.codes)  # type: ignore[no-any-return, no-untyped-call]


class StraightThrough(torch.nn.Module):
    """Weight that is replaced by its nearest centroids in every forward pass and trained as if it were free.

    Codes and centroids are assigned anew after every `reassign_every` forward passes in training. Source: the
    straight-through estimator, Bengio, Leonard, Courville, 2013.
    """

    mask: torch.Tensor
    passes: torch.Tensor

    def __init__(self, owner: Owner, bias: Owner | None, share: Share, mask: Booleans, reassign_every: int) -> None:
        super().__init__()
        self.register_buffer("mask", torch.from_numpy(mask))
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))
        self.owners = [owner, bias]  # a list, so that they are not registered in this module
        self.share, self.reassign_every = share, reassign_every
        self.latest: Assignment | None = None

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the nearest centroids; gradients pass straight through."""
        if self.latest is None or (self.training and int(self.passes) % self.reassign_every == 0):
            self.assign()
        if self.training:
            self.passes += 1
        assert self.latest is not None
        codes, codebook, _ = self.latest
        masked = weight * self.mask
        return masked + (torch.from_numpy(codebook[codes]) - masked).detach()

    def assign(self) -> Assignment:
        """Assign codes and centroids to the weight and the bias as they are now."""
        weight, bias = (None if owner is None else _trained(owner).detach().numpy() for owner in self.owners)
        assert weight is not None
        mask = self.mask.numpy()
        self.latest = self.share(weight * mask, mask, bias)
        return self.latest


class StraightThroughBias(torch.nn.Module):
    """Bias of a weight that is `StraightThrough`, in the same codebook."""

    def __init__(self, of: StraightThrough) -> None:
        super().__init__()
        self.of = [of]  # a list, so that it is not registered in this module

    def forward(self, bias: torch.Tensor) -> torch.Tensor:
        """Return the nearest centroids; gradients pass straight through."""
        if self.of[0].latest is None:
            return bias
        _, codebook, codes = self.of[0].latest
        return bias + (torch.from_numpy(codebook[codes]) - bias).detach()


def mask_weight(owners: Sequence[Owner], mask: Booleans) -> None:
    """Prune: keep a weight zero where `mask` is False, under all its owners. Replaces an earlier mask."""
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
    codes: Integers,
    codebook: Floats32,
    bias_codes: Integers | None,
) -> list[SharedWeight]:
    """Share: look the weight and the bias up in one codebook, whose centroids are trained unless the weight is frozen.

    Codes have the shape of the weight (`Assignment`). Returns the look-up of the weight and, if there is one, that of
    the bias.
    """
    learns = _trained(owners[0]).requires_grad
    centroids = torch.nn.Parameter(torch.from_numpy(codebook[..., 1:].copy()), requires_grad=learns)
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
    owners: Sequence[Owner], bias: Owner | None, share: Share, mask: Booleans, reassign_every: int
) -> StraightThrough:
    """Share jointly: replace the weight and the bias by the centroids nearest to the trained values."""
    shared = StraightThrough(owners[0], bias, share, mask, reassign_every)
    for module, attribute in owners:
        _restore(module, attribute)
        parametrize.register_parametrization(module, attribute, shared, unsafe=True)
    if bias is not None:
        parametrize.register_parametrization(*bias, StraightThroughBias(shared))
    shared.assign()
    return shared


def _trained(owner: Owner) -> torch.Tensor:
    """Return the parameter that is trained behind a parametrization."""
    module, attribute = owner
    if parametrize.is_parametrized(module, attribute):  # reading its value would call the parametrization
        module, attribute = module.get_submodule(f"parametrizations.{attribute}"), "original"
    parameter: torch.Tensor = getattr(module, attribute)
    return parameter


def _restore(module: torch.nn.Module, attribute: str) -> None:
    """Remove a parametrization and keep the values that it made."""
    if parametrize.is_parametrized(module, attribute):
        parametrize.remove_parametrizations(module, attribute)
