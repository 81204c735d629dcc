"""Training towards the outputs of another network (PyTorch needed)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch

from compress.training.fine_tuning import trainable
from traces import InputError
from traces.torch_modules import training

#: Inputs, the teacher's outputs [inputs, classes] and, if they count, labels.
Batch = tuple[torch.Tensor, ...]
LABEL_SHARE = 0.1


def distil(
    module: torch.nn.Module,
    batches: Callable[[int], Iterator[Batch]],
    epochs: int,
    learning_rate: float,
    temperature: float,
    last_rate: float = 0.0,
    after_epoch: Callable[[], object] = lambda: None,
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Minimise the divergence of a module's softened outputs from those of a teacher, in place.

    Parameters
    ----------
    module : torch.nn.Module
        The network. Frozen parameters, and submodules in evaluation mode while the network is in training mode, stay
        as they are; the mode of each submodule is restored.
    batches : callable
        Called with the number of the epoch; returns its batches. If they have labels, a tenth of the cross-entropy is
        added to the loss.
    epochs : int
        Number of epochs.
    learning_rate, last_rate : float
        At the start and at the end, along half a cosine.
    temperature : float
        Divides the outputs before softmax.
    after_epoch : callable
        Called after each epoch.
    optimizer : torch.optim.Optimizer or None
        Optimizer that keeps its state; by default a new Adam.

    Raises
    ------
    InputError
        If the outputs have another shape than the teacher's or fewer than two classes, all parameters are frozen, or
        the loss is no longer finite.

    Notes
    -----
    Source: Hinton, Vinyals, Dean, "Distilling the knowledge in a neural network", 2015.
    """
    optimizer = optimizer or torch.optim.Adam(trainable(module))
    with training(module):
        for epoch in range(epochs):
            share = epoch / epochs
            for group in optimizer.param_groups:
                group["lr"] = last_rate + (learning_rate - last_rate) * 0.5 * (1 + math.cos(math.pi * share))
            total = 0.0
            for inputs, teacher, *labels in batches(epoch):
                outputs = module(inputs)
                if outputs.shape != teacher.shape or outputs.ndim < 2 or outputs.shape[1] < 2:
                    raise InputError(
                        f"the outputs of the module and of its teacher must be class scores [inputs, classes], of two "
                        f"classes or more; found {list(outputs.shape)} and {list(teacher.shape)}; a softmax does not "
                        f"see one output alone: for the logit x of one class, give the scores [0, x] of two"
                    )
                softened = torch.nn.functional.log_softmax(outputs / temperature, dim=1)
                goal = torch.nn.functional.softmax(teacher / temperature, dim=1)
                loss = torch.nn.functional.kl_div(softened, goal, reduction="batchmean") * temperature**2
                if labels:
                    loss = loss + LABEL_SHARE * torch.nn.functional.cross_entropy(outputs, labels[0])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                total += loss.item()
            if not math.isfinite(total):
                raise InputError(
                    f"the loss must stay finite; it did not in epoch {epoch + 1}; lower learning_rate={learning_rate}"
                )
            after_epoch()
