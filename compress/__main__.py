"""Command line: `python -m compress pack | show | unpack | export | import`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro

from compress import CompressedModel
from compress.config import CompressionConfig, LayerSettings
from traces import InputError
from traces.command_line import console, run


def pack(
    weights: tyro.conf.Positional[Path],
    container: tyro.conf.Positional[Path],
    settings: Annotated[LayerSettings, tyro.conf.arg(name="")],
    layer_density: dict[str, float] | None = None,
    config: Path | None = None,
) -> None:
    """Compress trained weights once, without data and fine-tuning, into a container.

    To compress with fine-tuning, call compress.deep_compression.compress from a script. Examples:

      python -m compress pack network.npz network.dc --density 0.2 --layer-density fc3 0.5

      python -m compress pack network.npz network.dc --config settings.toml

    Args:
        weights: .npz file of parameters by name, or a PyTorch state dict (.pt, .pth)
        container: the file to write
        settings: of all layers
        layer_density: share of weights to keep in named layers: NAME SHARE NAME SHARE ...
        config: TOML or JSON file of settings, for all layers and by name, instead of the options
    """
    from compress.one_shot import compress_parameters, read_parameters

    if config is None:
        chosen = CompressionConfig(
            settings, layers={name: {"density": share} for name, share in (layer_density or {}).items()}
        )
    elif settings == LayerSettings() and not layer_density:
        chosen = CompressionConfig.load(config)
    else:
        raise InputError("give either --config or the options of layers, not both")
    model, left_alone = compress_parameters(read_parameters(weights), chosen)
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
    report = model.size_report
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


def export(container: tyro.conf.Positional[Path], file: tyro.conf.Positional[Path]) -> None:
    """Write a container as a .safetensors file: codes, gaps, pointers and codebooks, for other tools.

    Args:
        container: the file to read
        file: the .safetensors file to write
    """
    from compress.safetensors_file import export_safetensors

    export_safetensors(file, CompressedModel.load(container))
    print(f"Codes, gaps, pointers and codebooks are in {file}.")


def import_(file: tyro.conf.Positional[Path], container: tyro.conf.Positional[Path]) -> None:
    """Write a container from a .safetensors file that `export` wrote.

    Args:
        file: the .safetensors file to read
        container: the file to write
    """
    from compress.safetensors_file import import_safetensors

    import_safetensors(file).save(container)
    show(container)


def main() -> None:
    commands: dict[str, Callable[..., None]] = {
        "pack": pack,
        "show": show,
        "unpack": unpack,
        "export": export,
        "import": import_,
    }
    tyro.extras.subcommand_cli_from_dict(commands, prog="python -m compress")


if __name__ == "__main__":
    run(main)
