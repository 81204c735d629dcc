"""Activation thresholds chosen without a plan: one share everywhere, and shares of each block (PyTorch needed)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from compress.planning.outputs import run_outputs
from compress.planning.pipeline import ApplicablePlan
from compress.planning.product_inputs import replacing_inputs
from traces import Inputs
from traces.shell.progress import progress_bar
from traces.torch_modules import evaluating

_BLOCK = re.compile(r"(.*\.\d+)\.")
_STEP = 0.01  # of the share of a whole block
_LARGEST = 0.95


class UniformCuts:
    """Thresholds that cut one share of what enters each product.

    Parameters
    ----------
    plan : ApplicablePlan
        A plan with thresholds, which knows the activations of the layers that take some.
    """

    def __init__(self, plan: ApplicablePlan) -> None:
        layers = plan.planner.analysis.layers
        self.bins = {layer.name: layer.activations for layer in layers if layer.activations is not None}

    def thresholds(self, level: float) -> dict[str, float]:
        """Return the threshold of each layer at a share, by name."""
        return {name: bins.cuts((level,))[-1].threshold for name, bins in self.bins.items()} if level else {}


class BlockCuts(UniformCuts):
    """Shares of each product of a block, chosen greedily, so that each block as a whole cuts one share.

    A block is a submodule of numbered ones that has several layers. Its share, weighted by the sizes of the weights,
    grows step by step: each step gives one layer more, the one whose step changes the block's own output least. Layers
    outside of blocks cut the share of a whole block. Source: Liu et al., "Training-Free Activation Sparsity in Large
    Language Models" (TEAL), ICLR 2025, section 4.3.

    Parameters
    ----------
    plan : ApplicablePlan
        A plan with thresholds of a module with blocks (`has_blocks`).
    inputs : Inputs
        Inputs on which errors of blocks are measured.
    most : float
        Largest share.
    """

    def __init__(self, plan: ApplicablePlan, inputs: Inputs, most: float) -> None:
        super().__init__(plan)
        self._module, self._layers = plan.planner.module, plan.planner.layers
        blocks = _blocks(self.bins)
        self._paths: list[list[dict[str, float]]] = []
        with evaluating(self._module), torch.no_grad(), progress_bar("choosing shares in blocks", len(blocks)) as step:
            for block, names in blocks.items():
                self._paths.append(self._path(block, names, inputs, most))
                step()

    @staticmethod
    def has_blocks(plan: ApplicablePlan) -> bool:
        """Return True if a planned module has blocks of layers that take thresholds."""
        return bool(_blocks(UniformCuts(plan).bins)) and not hasattr(plan.planner.module, "replacing")

    def thresholds(self, level: float) -> dict[str, float]:
        """Return the threshold of each layer at a share of each block, by name."""
        shares = dict.fromkeys(self.bins, level)
        for path in self._paths:
            shares |= path[min(round(level / _STEP), len(path) - 1)]
        return {name: self._threshold(name, share) for name, share in shares.items()}

    def _threshold(self, name: str, share: float) -> float:
        return self.bins[name].cuts((share,))[-1].threshold if share else 0.0

    def _path(self, block: str, names: Sequence[str], inputs: Inputs, most: float) -> list[dict[str, float]]:
        """Return the share of each layer of a block after each step."""
        part = self._module.get_submodule(block)
        entered: list[tuple[Any, Any]] = []

        def keep(_: torch.nn.Module, arguments: Any, keywords: Any) -> None:
            entered.append((arguments, keywords))

        hook = part.register_forward_pre_hook(keep, with_kwargs=True)
        try:
            run_outputs(self._module, inputs)
        finally:
            hook.remove()
        before = [_first(part(*arguments, **keywords)) for arguments, keywords in entered]
        sizes = {layer.name: layer.weight.numel() for layer in self._layers if layer.name in names}
        total = sum(sizes.values())
        shares = dict.fromkeys(names, 0.0)
        path = [dict(shares)]
        while len(path) <= round(most / _STEP):
            proposals = {name: shares[name] + _STEP * total / sizes[name] for name in names}
            errors = {}
            for name, share in proposals.items():
                if share <= _LARGEST:
                    cuts = {each: self._threshold(each, value) for each, value in (shares | {name: share}).items()}
                    errors[name] = self._error(part, cuts, entered, before)
            if not errors:
                break
            least = min(errors, key=lambda name: errors[name])
            shares[least] = proposals[least]
            path.append(dict(shares))
        return path

    def _error(
        self,
        part: torch.nn.Module,
        cuts: Mapping[str, float],
        entered: Sequence[tuple[Any, Any]],
        before: Sequence[torch.Tensor],
    ) -> float:
        """Return the squared change of a block's output by thresholds."""
        of_numbers = {number: cuts.get(layer.name, 0.0) for number, layer in enumerate(self._layers)}

        def cut(number: int, entering: torch.Tensor) -> torch.Tensor:
            threshold = of_numbers[number]
            return torch.nn.functional.hardshrink(entering, threshold) if threshold else entering

        with replacing_inputs(self._module, self._layers, cut):
            after = [_first(part(*arguments, **keywords)) for arguments, keywords in entered]
        return float(sum((one - other).square().sum() for one, other in zip(after, before, strict=True)))


def _first(output: Any) -> torch.Tensor:
    """Return the output of a block, the first if it has several."""
    first: torch.Tensor = output if isinstance(output, torch.Tensor) else output[0]
    return first


def _blocks(names: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the names of the layers of each block with several ones."""
    blocks: dict[str, list[str]] = defaultdict(list)
    for name in names:
        found = _BLOCK.match(name)
        if found is not None:
            blocks[found[1]].append(name)
    return {block: of_block for block, of_block in blocks.items() if len(of_block) > 1}


def levels(step: float, most: float) -> list[float]:
    """Return the shares 0, step, ... up to `most`."""
    return [round(step * number, 6) for number in range(round(most / step) + 1)]


def greedy_texts(module: torch.nn.Module, prompts: Any, steps: int) -> Any:
    """Return prompts with the tokens that a language model writes after them greedily, int64 [texts, steps]."""
    tokens = torch.from_numpy(np.asarray(prompts))
    with evaluating(module), torch.no_grad():
        while tokens.shape[1] < steps:
            tokens = torch.cat([tokens, module(tokens)[:, -1].argmax(dim=-1, keepdim=True)], dim=1)
    return tokens.numpy()
