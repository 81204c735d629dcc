"""Command line: `python -m compress pack | show | unpack`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import tyro

from compress import CompressedModel
from traces.command_line import console, run


def pack(
    weights: tyro.conf.Positional[Path],
    container: tyro.conf.Positional[Path],
    density: float = 0.1,
    layer_density: dict[str, float] | None = None,
    weight_bits: int = 4,
    index_bits: int | None = None,
) -> None:
    """Compress trained weights once, without data and fine-tuning, into a container.

    To compress with fine-tuning, call compress.deep_compression.compress from a script. Example:

      python -m compress pack network.npz network.dc --density 0.2 --layer-density fc3 0.5

    Args:
        weights: .npz file of parameters by name, or a PyTorch state dict (.pt, .pth)
        container: the file to write
        density: share of weights to keep
        layer_density: share of weights to keep in named layers: NAME SHARE NAME SHARE ...
        weight_bits: bits of a code, 1 to 8
        index_bits: bits of a gap in the file, 1 to 8; if not given, layer by layer what takes the fewest bytes
    """
    from compress.one_shot import compress_parameters, read_parameters

    model, left_alone = compress_parameters(read_parameters(weights), density, weight_bits, index_bits, layer_density)
    model.save(container)
    show(container)
    for reason in dict.fromkeys(left_alone.values()):
        names = [name for name, its_reason in left_alone.items() if its_reason == reason]
        print(f"stored as they are ({reason}): {', '.join(names)}")


def show(container: tyro.conf.Positional[Path]) -> None:
    """Print what a container holds, and how much smaller it is.

    Args:
        container: the file to read
    """
    from rich.table import Table

    model = CompressedModel.load(container)
    report = CompressedModel(
        model.layers,
        model.shapes,
        weight_names=model.weight_names,
        bias_names=model.bias_names,
        tensors=model.tensors,
        buffers=sorted(model.buffers),
        coding=model.coding,
    ).size_report
    table = Table(title=str(container), title_justify="left")
    table.add_column("layer")
    headings = (
        "shape",
        "density",
        "bits",
        "codes",
        "gaps",
        "fillers",
        "codebook",
        "tables",
        "bias",
        "header",
        "bytes",
        "above entropy",
    )
    for heading in headings:
        table.add_column(heading, justify="right")
    for layer, shape, size in zip(model.layers, model.shapes, report.layers, strict=True):
        parts = size.codes, size.gaps, size.fillers, size.codebook, size.code_tables, size.bias, size.header, size.total
        table.add_row(
            layer.name,
            " x ".join(str(length) for length in shape),
            f"{layer.density:.1%}",
            str(layer.weight_bits),
            *(f"{part:,}" for part in parts),
            f"{size.above_entropy:+.1%}",
        )
    table.add_section()
    blank = [""] * (len(headings) - 2)
    table.add_row("other tensors", *blank, f"{report.tensors:,}", "")
    table.add_row("header of the file", *blank, f"{report.header:,}", "")
    console().print(table)
    print(
        f"{model.size_bytes:,} bytes; the same parameters in fp32 take {model.parameter_bytes:,}: "
        f"{model.compression_ratio:.1f}x smaller"
    )


def unpack(container: tyro.conf.Positional[Path], weights: tyro.conf.Positional[Path]) -> None:
    """Write the decoded weights and biases of a container to an .npz file, float32 by parameter name.

    Args:
        container: the file to read
        weights: the .npz file to write
    """
    from traces.npz import write_npz

    write_npz(weights, CompressedModel.load(container).decoded_parameters())
    print(f"Decoded weights are in {weights}.")


def main() -> None:
    commands: dict[str, Callable[..., None]] = {"pack": pack, "show": show, "unpack": unpack}
    tyro.extras.subcommand_cli_from_dict(commands, prog="python -m compress")


if __name__ == "__main__":
    run(main)
