"""Training towards the outputs of another network (PyTorch needed)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch

from traces import InputError

Batch = tuple[
    torch.Tensor, ...
]  # inputs, the outputs to be approached [inputs, classes], and labels, if they are to count
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
    """Minimise the divergence of the softened outputs from the given ones, by gradient descent.

    batches    called with the number of the epoch; where they have labels, a tenth of the cross-entropy is added
    last_rate  what the learning rate falls to, after half a cosine; as large as `learning_rate`: it stays
    optimizer  goes on with what it has gathered; without one, Adam begins anew

    Source: Hinton, Vinyals, Dean, "Distilling the knowledge in a neural network", 2015. Raises InputError if the
    outputs have another shape than the given ones, there are fewer than two for an input, or the loss stops being a
    number.
    """
    optimizer = optimizer or torch.optim.Adam([each for each in module.parameters() if each.requires_grad])
    module.train()
    for epoch in range(epochs):
        share = epoch / epochs
        for group in optimizer.param_groups:
            group["lr"] = last_rate + (learning_rate - last_rate) * 0.5 * (1 + math.cos(math.pi * share))
        total = 0.0
        for inputs, wanted, *labels in batches(epoch):
            outputs = module(inputs)
            if outputs.shape != wanted.shape or outputs.ndim < 2 or outputs.shape[1] < 2:
                raise InputError(
                    f"the module's outputs and those to be approached must be class scores [inputs, classes], of two "
                    f"classes or more; found {list(outputs.shape)} and {list(wanted.shape)}; a softmax does not see "
                    f"one output alone: for the logit x of one class, give the scores [0, x] of two"
                )
            found = torch.nn.functional.log_softmax(outputs / temperature, dim=1)
            goal = torch.nn.functional.softmax(wanted / temperature, dim=1)
            loss = torch.nn.functional.kl_div(found, goal, reduction="batchmean") * temperature**2
            if labels:
                loss = loss + LABEL_SHARE * torch.nn.functional.cross_entropy(outputs, labels[0])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item()
        if not math.isfinite(total):
            raise InputError(
                f"the loss must stay a number; it was lost in epoch {epoch + 1}; lower learning_rate={learning_rate}"
            )
        after_epoch()
    module.eval()
