"""Training and accuracy of a network whose weights are free, masked or shared (PyTorch needed)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from compress.class_scores import check_form, check_labels
from compress.modules import check_parameters
from traces import InputError
from traces.arrays import Integers64, Numbers
from traces.torch_modules import evaluating, training


def train(
    module: torch.nn.Module,
    images: Numbers,
    labels: Integers64,
    epochs: int,
    learning_rate: float,
    batch_size: int = 64,
    seed: int = 0,
    after_epoch: Callable[[], object] = lambda: None,
) -> None:
    """Minimise the cross-entropy of a module on labelled images, in place, with Adam.

    Parameters
    ----------
    module : torch.nn.Module
        The network. Frozen parameters, and submodules in evaluation mode while the network is in training mode, stay
        as they are; the mode of each submodule is restored.
    images : array [samples, ...]
        Inputs; floating-point ones are taken as float32.
    labels : int [samples]
        Places of the right outputs.
    epochs : int
        Passes over the images.
    learning_rate : float
        At the start; it falls to zero along half a cosine.
    batch_size : int
        Images per step.
    seed : int
        Of the order of the images.
    after_epoch : callable
        Called after each epoch.

    Raises
    ------
    InputError
        If a parameter is not float32 on the CPU, labels are not the places of outputs, the module does not give
        [samples, classes], all of its parameters are frozen, or the loss is no longer finite.
    """
    check_parameters(module)
    labels = check_labels("labels", labels, len(images))
    optimizer = torch.optim.Adam(trainable(module), lr=learning_rate)
    steps_per_epoch = -(-len(images) // batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, epochs * steps_per_epoch))
    inputs, targets = _tensor(images), torch.from_numpy(labels)
    order = torch.Generator().manual_seed(seed)
    highest = int(labels.max(initial=0))
    with training(module):
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
                    f"the loss must stay finite; it did not in epoch {epoch + 1}; lower learning_rate={learning_rate}"
                )
            after_epoch()


def trainable(module: torch.nn.Module) -> list[torch.nn.Parameter]:
    """Return the parameters of a module that are not frozen. Raises InputError if all are."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not parameters:
        raise InputError("training needs a parameter that is not frozen; found none; set requires_grad of some to True")
    return parameters


def accuracy(module: torch.nn.Module, images: Numbers, labels: Integers64) -> float:
    """Return the share of images whose largest output is that of their label.

    Parameters
    ----------
    module : torch.nn.Module
        The network. The mode of each submodule is restored.
    images : array [samples, ...]
        Inputs; floating-point ones are taken as float32.
    labels : int [samples]
        Places of the right outputs.

    Returns
    -------
    float
        Share from 0 to 1.

    Raises
    ------
    InputError
        If a parameter is not float32 on the CPU, labels are not the places of outputs, or the module does not give
        [samples, classes].
    """
    check_parameters(module)
    labels = check_labels("labels", labels, len(images))
    predicted = []
    with evaluating(module), torch.no_grad():
        for part in torch.split(_tensor(images), 4096):
            outputs = module(part)
            check_form("the module's outputs", outputs, len(part))
            predicted.append(outputs.argmax(dim=1))
    check_labels("labels", labels, len(images), outputs.shape[1])
    return float((torch.cat(predicted) == torch.from_numpy(labels)).double().mean())


def _tensor(images: Numbers) -> torch.Tensor:
    """Return inputs as a tensor, floating-point ones as float32."""
    tensor = torch.from_numpy(np.ascontiguousarray(images))
    return tensor.float() if tensor.is_floating_point() else tensor
