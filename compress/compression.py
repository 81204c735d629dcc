"""Compression of a network from any source, whole: its weights, and its graph."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from compress.config import CompressionConfig
from compress.container.model import CompressedModel
from compress.networks import is_module, open_network, with_graph
from compress.one_shot import compress_parameters
from compress.weight_files.network_parameters import computed_weights, named_parameters, network_products
from traces import InputError

if TYPE_CHECKING:
    import torch

    from compress.training.compressor import Stage
    from traces import Network


def compress(
    network: torch.nn.Module | Network | str | os.PathLike[str],
    config: CompressionConfig | None = None,
    train: Callable[[torch.nn.Module, Stage], object] | None = None,
    state_file: str | os.PathLike[str] | None = None,
    *,
    inputs: Any = None,
    leave: Sequence[str] = (),
) -> CompressedModel:
    """Compress a trained network; the network itself is left as it is.

    Parameters
    ----------
    network : torch.nn.Module, Network, path or str
        A module, an opened network, an ONNX file, or package.module:function, which gives a module. Weights that
        weight_norm, prune or a parametrization computes are compressed as computed.
    config : CompressionConfig or None
        Settings of the layers and stages. An ONNX file is compressed in one step, without stages.
    train : callable or None
        Called after each stage with a copy of the module and the stage, to fine-tune it; without it, nothing is
        fine-tuned. It needs a module.
    state_file : path or None
        An .npz file that is written after each stage. If it exists, the run resumes from it; the result is the same as
        without an interruption if `train` depends on nothing else.
    inputs : array, tuple of arrays, dict of arrays, or Inputs
        Example inputs of a module, from which its graph is traced. A module without them is compressed by the types of
        its layers, and the model has no graph. The first axis of each array holds the inputs.
    leave : sequence of str
        Names of layers to leave alone, or shell patterns of them, like "head" and "encoder.*".

    Returns
    -------
    CompressedModel
        The compressed model, with the graph of the network.

    Raises
    ------
    InputError
        If the network cannot be read or traced or has nothing to compress, the config or `leave` names a layer that it
        does not have, or the state is of another config or module.
    """
    if is_module(network) and inputs is None:
        from compress.training.compressor import compress_module

        return compress_module(network, config, train, state_file, leave=leave)  # type: ignore[arg-type]
    opened = open_network(network, inputs)
    computed = computed_weights(opened)
    if opened.module is not None and not computed:
        from compress.training.compressor import compress_module

        model = compress_module(
            opened.module, config, train, state_file, leave=leave, products=network_products(opened)
        )
        return with_graph(model, opened, config)
    if train is not None or state_file is not None:
        reason = f"it computes {', '.join(computed)} in its forward pass" if computed else "it is no module"
        raise InputError(
            f"{opened.name}: a network that is fine-tuned must be a module with weights of its own; {reason}"
        )
    config = replace(config or CompressionConfig(), pruning_steps=CompressionConfig.pruning_steps)  # no stages
    return with_graph(compress_parameters(named_parameters(opened), config, leave=leave)[0], opened, config)
