"""Normalisation that takes fewer bytes (PyTorch needed)."""

from __future__ import annotations

import torch


def fold_normalisation(module: torch.nn.Module) -> None:
    """Move running means and variances of batch normalisation into weight and bias, in place.

    Afterwards every running mean is 0 and every variance 1, which a container stores in four bytes. In evaluation the
    module computes the same up to rounding.

    Parameters
    ----------
    module : torch.nn.Module
        The network, changed in place.
    """
    for part in module.modules():
        if not isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
            continue
        mean, variance = part.running_mean, part.running_var
        if mean is None or variance is None or part.weight is None or part.bias is None:
            continue
        with torch.no_grad():
            scale = part.weight * torch.rsqrt(variance + part.eps)
            part.bias.sub_(mean * scale)
            part.weight.copy_(scale * (1 + part.eps) ** 0.5)
            mean.zero_()
            variance.fill_(1)
