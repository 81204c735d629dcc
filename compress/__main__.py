"""Command line `python -m compress`: pack, show, unpack, compact, export, import, plan, watch, measure."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

from compress import Budget, CompressedModel, CompressionConfig, LayerSettings, Plan, Tolerance
from compress.config import Codebooks
from compress.networks import given_inputs, is_function
from compress.planning.losses import AUTO
from traces import InputError
from traces.files.atomic_file import write_atomically
from traces.shell.command_line import console, if_interrupted, run, run_commands

if TYPE_CHECKING:
    from compress import ApplicablePlan
    from compress.weight_files.parameters import NamedParameters
    from traces import Network

_SHOWN_NAMES = 12  # of tensors that are left alone for one reason


def pack(
    network: tyro.conf.Positional[str],
    container: tyro.conf.Positional[Path],
    settings: Annotated[LayerSettings, tyro.conf.arg(name="")],
    layer_density: dict[str, float] | None = None,
    config: Path | None = None,
    key: str | None = None,
    leave: tuple[str, ...] = (),
    inputs: Path | None = None,
    weights: Path | None = None,
    no_graph: bool = False,
) -> None:
    """Compress trained weights into a container in one step, without data and fine-tuning.

    To compress with fine-tuning, call `compress.compress` from a script.

    For instance:

      python -m compress pack network.pt network.dc --density 0.2 --layer-density fc3 0.5 --leave head "norm*"

      python -m compress pack my_network:build network.dc --inputs inputs.npy --config settings.toml

      python -m compress pack network.onnx network.dc

    Args:
        network: file of weights of any suffix (PyTorch, .npz, .safetensors, .h5, ONNX), or package.module:function
            that builds the network
        container: the file to write
        settings: settings of all layers
        layer_density: share of weights to keep in named layers: NAME SHARE NAME SHARE ...
        config: TOML or JSON file of settings, for all layers and by name, instead of the options
        key: path to the state dict in a PyTorch checkpoint, such as model.ema
        leave: names or shell patterns of layers and parameters to store as they are
        inputs: .npy file of inputs, [inputs, ...], or .npz file with an array for each input, from which the graph of
            a module is traced; without them, a function may give inputs beside its module
        weights: file of parameters to load into the module that a function gives
        no_graph: leave out the graph, which simulation and ONNX files need
    """
    from compress.networks import with_graph
    from compress.one_shot import compress_parameters

    if config is None:
        compression = CompressionConfig(
            settings, layers={name: {"density": share} for name, share in (layer_density or {}).items()}
        )
    elif settings == LayerSettings() and not layer_density:
        compression = CompressionConfig.load(config)
    else:
        raise InputError("give either --config or the options of layers, not both")
    if Path(network).exists() and container.exists() and container.samefile(network):
        raise InputError(f"{container}: the container would replace the weights; choose another file")
    parameters, opened = _parameters_of(network, key, inputs, weights, no_graph)
    model, left_alone = compress_parameters(parameters, compression, leave=leave)
    if opened is not None and not no_graph:
        model = with_graph(model, opened, compression)
    model.save(container)
    _print_sizes(model, container)
    for note in parameters.notes:
        print(note)
    for reason in dict.fromkeys(left_alone.values()):
        names = [name for name, other in left_alone.items() if other == reason]
        stored = "stored as they are" if names[0] in model.tensors else "left out"
        more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
        print(f"{stored} ({reason}): {', '.join(names[:_SHOWN_NAMES])}{more}")
    if model.graph is None and not no_graph:
        print(
            "The container has no graph, so that it cannot be simulated: a file of weights has none, and a module is "
            "traced with --inputs."
        )
    original = f"NETWORK INPUTS --weights {network}"
    if is_function(network) or opened is not None:
        original = f"{network} {inputs or 'INPUTS'}" + (f" --weights {weights}" if weights else "")
    print(f"The accuracy was not measured. To measure it: python -m compress measure {container} {original}")


def _parameters_of(
    network: str, key: str | None, inputs: Path | None, weights: Path | None, no_graph: bool
) -> tuple[NamedParameters, Network | None]:
    """Return the parameters of a file or of a built network, and the network if its graph is known."""
    from compress.networks import network_source, open_network
    from compress.weight_files.kinds import kind_of
    from compress.weight_files.network_parameters import named_parameters
    from compress.weight_files.reading import read_parameters

    if weights is not None and not is_function(network):
        raise InputError(f"weights have no effect, since {network} has its own; leave them out")
    if not is_function(network) and kind_of(network) != "onnx":
        if inputs is not None:
            raise InputError(f"inputs have no effect, since {network} has weights alone; leave them out")
        return read_parameters(network, key), None
    if key is not None:
        raise InputError(f"key has no effect, since {network} is no checkpoint; leave it out")
    values = None if inputs is None else given_inputs(inputs)
    if is_function(network):
        module, given = network_source(network, weights)
        if no_graph or (values is None and given is None):
            from compress.modules import plain_module
            from compress.weight_files.checkpoint import state_of

            return state_of(plain_module(module)), None
        opened = open_network(module, given if values is None else values)
    else:
        opened = open_network(network, values)
    return named_parameters(opened), opened


def show(container: tyro.conf.Positional[Path]) -> None:
    """Print the layers of a container and its bytes by their use.

    For instance:

      python -m compress show results/digits/compressed.dc

    Args:
        container: the file to read
    """
    _print_sizes(CompressedModel.load(container), container)


def _print_sizes(model: CompressedModel, container: Path) -> None:
    """Print the bytes of a model by their use; `container` is the title."""
    from rich.table import Table

    report = model.size_report
    has_codebooks = any(layer.num_codebooks > 1 for layer in model.layers)
    has_thresholds = any(layer.activation_threshold for layer in model.layers)
    padding = (0, 0 if has_codebooks or has_thresholds else 1)  # room for their columns
    table = Table(title=str(container), title_justify="left", padding=padding)
    table.add_column("layer")
    headings = (
        "shape",
        "density",
        "bits",
        *(("codebooks",) if has_codebooks else ()),
        *(("threshold",) if has_thresholds else ()),
        "codes",
        "gaps",
        "padding",
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
            *((f"{layer.num_codebooks:,}",) if has_codebooks else ()),
            *((f"{layer.activation_threshold:.3g}",) if has_thresholds else ()),
            *(f"{part:,}" for part in parts),
            f"{size.above_entropy:+.1%}",
        )
    table.add_section()
    blank = [""] * (len(headings) - 2)
    table.add_row("other tensors", *blank, f"{report.tensors:,}", "")
    if report.graph:
        table.add_row("graph", *blank, f"{report.graph:,}", "")
    table.add_row("header of the file", *blank, f"{report.header:,}", "")
    console().print(table)
    print(
        f"{model.size_bytes:,} bytes; the same parameters in fp32 take {model.parameter_bytes:,}: "
        f"{model.compression_ratio:.1f}x smaller"
    )


def unpack(container: tyro.conf.Positional[Path], file: tyro.conf.Positional[Path]) -> None:
    """Write the decoded network of a container to a file of the kind that its suffix names.

    For instance:

      python -m compress unpack results/digits/compressed.dc weights.npz

    Args:
        container: the file to read
        file: the file to write: .npz, .safetensors or .pt (a state dict), by parameter name; or .onnx, if the
            container has a graph
    """
    from compress.weight_files.writing import write_parameters

    model = CompressedModel.load(container)
    if file.exists() and file.samefile(container):
        raise InputError(f"{file}: the weights would replace the container; choose another file")
    if file.suffix.lower() != ".onnx":
        write_parameters(file, model.state())
        if any(layer.activation_threshold for layer in model.layers):
            print(f"{file} has no activation thresholds; an .onnx file, or one that export writes, has them.")
    elif model.graph is None:
        raise InputError(
            f"{container}: holds no graph, so that no ONNX file can be made of it; write .npz, .safetensors or .pt"
        )
    else:
        write_atomically(file, model.network.to_onnx().SerializeToString(deterministic=True))
    print(f"Decoded weights are in {file}.")


def export(container: tyro.conf.Positional[Path], file: tyro.conf.Positional[Path]) -> None:
    """Write a container as a .safetensors file: codes, gaps, pointers and codebooks, for other tools.

    For instance:

      python -m compress export results/digits/compressed.dc network.safetensors

    Args:
        container: the file to read
        file: the .safetensors file to write
    """
    from compress.container.safetensors_file import export_safetensors

    export_safetensors(file, CompressedModel.load(container))
    print(f"Codes, gaps, pointers and codebooks are in {file}.")


def import_(file: tyro.conf.Positional[Path], container: tyro.conf.Positional[Path]) -> None:
    """Write a container from a .safetensors file that `export` wrote.

    For instance:

      python -m compress import network.safetensors network.dc

    Args:
        file: the .safetensors file to read
        container: the file to write
    """
    from compress.container.safetensors_file import import_safetensors

    import_safetensors(file).save(container)
    show(container)


def compact(container: tyro.conf.Positional[Path], out: tyro.conf.Positional[Path], inputs: Path | None = None) -> None:
    """Leave out the rows and columns of a network's layers that change none of its outputs.

    An array then broadcasts fewer activations and reads fewer pointers. The outputs are the same.

    For instance:

      python -m compress compact network.dc compact.dc

    Args:
        container: the file to read; it must hold a graph
        out: the container to write
        inputs: .npy file of inputs, or .npz file with an array for each input, if the graph leaves lengths open
    """
    from rich.table import Table

    model = CompressedModel.load(container)
    values = None if inputs is None else given_inputs(inputs)
    compacted = model.compacted(values)
    compacted.save(out)
    network = compacted.network
    flat = network.flat(None if values is None else network.part(network.bind(values), 0, 1))
    before, after = (
        {name: np.count_nonzero(stored.layer.codes) for name, stored in each.stored_layers.items()}
        for each in (model, compacted)
    )
    table = Table(title="Layer by layer, without what changes no output", title_justify="left")
    table.add_column("layer")
    for heading in ("rows x columns", "rows left out", "columns left out", "entries", "before"):
        table.add_column(heading, justify="right")
    for layer in flat.layers:
        if layer.weight in after:
            sizes = f"{layer.rows} x {layer.columns}", *map(str, layer.left_out)
            table.add_row(layer.name, *sizes, f"{after[layer.weight]:,}", f"{before[layer.weight]:,}")
    console().print(table)
    print(f"{compacted.size_bytes:,} bytes; before, {model.size_bytes:,}")


def plan(
    network: tyro.conf.Positional[str],
    inputs: tyro.conf.Positional[Path],
    container: tyro.conf.Positional[Path],
    budget: Annotated[Budget, tyro.conf.arg(name="")],
    weights: Path | None = None,
    labels: Path | None = None,
    bound: float | None = None,
    loss: str = "auto",
    accuracy_drop: float | None = None,
    divergence: float | None = None,
    relative_error: float | None = None,
    cosine: float | None = None,
    outputs: tuple[str, ...] = (),
    confidence: float = 0.9,
    evaluation: Path | None = None,
    evaluation_labels: Path | None = None,
    committee: int = 0,
    cost: str | None = None,
    minimise: str = "file_bytes",
    thresholds: bool = False,
    codebooks: Codebooks = "layer",
    codebook_groups: int = 0,
    structured: bool = False,
    seed: int = 0,
    leave: tuple[str, ...] = (),
    analysis: Path | None = None,
    tolerances: Path | None = None,
) -> None:
    """Compress a trained network as far as a tolerance and a budget allow, without training it. Needs PyTorch.

    Half of the inputs, at most 256, are analysed; plans are measured on the others, or on the evaluation. The plan is
    written beside the container, as NAME.plan.json. The exit status is 1 if the plan breaks a bound; it is written
    nevertheless. The same command continues an interrupted plan.

    For instance:

      python -m compress plan my_network:build inputs.npy my.dc --weights my_network.npz --loss kl --bound 0.02

    Args:
        network: an ONNX file, or package.module:function that builds the network
        inputs: .npy file of inputs like those to come, [inputs, ...], or .npz file with an array for each of the
            network's inputs by name
        container: the file to write
        budget: upper bounds on the costs of the compressed network
        weights: .npz file of its parameters by name, or a PyTorch state dict (.pt, .pth)
        labels: .npy file of the inputs' labels, int [inputs] or [inputs, positions]
        bound: largest loss; or give one of the short forms --accuracy-drop, --divergence, --relative-error, --cosine
        loss: what is bounded: accuracy, answers, kl, cosine, relative-error, or package.module:function of the
            original's outputs and the changed ones; auto: it follows from labels, outputs and graph, and is printed
        accuracy_drop: largest fall of the share of right answers; without labels, largest share of answers that change
        divergence: largest mean divergence of the softmax outputs, in nats; the loss kl
        relative_error: largest mean length of the outputs' change, relative to the outputs' length
        cosine: largest mean of 1 - cosine of the angle between the outputs and the original's, for embeddings
        outputs: names of the outputs that the loss compares; default: all
        confidence: confidence level at which the bound is to hold for inputs to come
        evaluation: .npy or .npz file of inputs that the network has never seen; plans are then measured on them, and it
            is said if the network seems to have been trained on the others
        evaluation_labels: .npy file of their labels
        committee: plan on at most this many inputs, which a committee chooses; 0 for all inputs
        cost: package.module:function that takes the network and inputs and returns the cost function, like
            designs:ArrayCost; needed for budgets of latency, energy and SRAM
        minimise: the cost that the plan minimises: file_bytes; latency_us or energy_nj with designs:ArrayCost; macs
            with --thresholds
        thresholds: also choose an activation threshold for each layer; activations up to it count as zero
        codebooks: codebooks of each layer: one (layer), one for each PE (pe), or one for each group of PEs (group); the
            array has --num-pes PEs, or 64
        codebook_groups: number of groups of PEs, only with --codebooks group
        structured: also try plans without some neurons, channels and heads, and take one if it costs less
        seed: seed of everything drawn at random
        leave: names or shell patterns of layers to store as they are
        analysis: folder that keeps the analysis and its runs, also for other plans and co-designs of the same network
            and inputs; default: NAME.analysis beside the container
        tolerances: the .tolerances.json file to write: how far each weight may move, of which python -m reports
            tolerances makes a figure
    """
    from compress.planning.pipeline import plan as make_plan
    from traces.files.npz import read_npy

    _check_suffix(container)
    tolerance = Tolerance(
        bound,
        loss,
        confidence,
        accuracy_drop=accuracy_drop,
        divergence=divergence,
        relative_error=relative_error,
        cosine=cosine,
        outputs=outputs,
    )
    values = given_inputs(inputs)
    original = _original(network, weights, values)
    kept_in = container.with_suffix(".analysis") if analysis is None else analysis
    with if_interrupted(f"what was done is kept in {kept_in}; the same command continues the plan"):
        made = make_plan(
            original,
            values,
            labels=None if labels is None else read_npy(labels),
            tolerance=tolerance,
            budget=budget,
            cost=_cost(cost, original, values),
            evaluation=None if evaluation is None else given_inputs(evaluation),
            evaluation_labels=None if evaluation_labels is None else read_npy(evaluation_labels),
            committee=committee,
            minimise=minimise,
            thresholds=thresholds,
            codebooks=codebooks,
            num_pes=budget.num_pes if codebooks != "layer" else None,
            codebook_groups=codebook_groups,
            structured=structured,
            seed=seed,
            leave=leave,
            analysis=kept_in,
        )
    _save_plan(made, container)
    if tolerances is not None:
        made.weight_tolerances().save(tolerances)
        print(f"wrote {tolerances}")
    if not made.feasible:
        sys.exit(1)


def watch(
    container: tyro.conf.Positional[Path],
    network: tyro.conf.Positional[str],
    inputs: tyro.conf.Positional[Path],
    budget: Annotated[Budget, tyro.conf.arg(name="")],
    weights: Path | None = None,
    labels: Path | None = None,
    bound: float | None = None,
    loss: str = "auto",
    accuracy_drop: float | None = None,
    divergence: float | None = None,
    relative_error: float | None = None,
    cosine: float | None = None,
    outputs: tuple[str, ...] = (),
    plan: Path | None = None,
    replan: Path | None = None,
    cost: str | None = None,
    leave: tuple[str, ...] = (),
    out: Path | None = None,
) -> None:
    """Compare a deployed container with the original network on new inputs. Needs PyTorch.

    Prints the use of the tolerance with 95 % confidence intervals, and whether it drifts. With --replan, a new
    container is planned on these inputs if the tolerance is broken or a budget is given. The exit status is 1 if the
    tolerance is broken and no new plan keeps it.

    For instance:

      python -m compress watch my.dc my_network:build new.npy --weights my_network.npz --plan my.plan.json

    Args:
        container: the deployed container
        network: the original: an ONNX file, or package.module:function that builds it
        inputs: .npy file of new inputs, in the order in which they came, [inputs, ...], or .npz file with an array for
            each of the network's inputs by name
        budget: upper bounds on the costs of the compressed network from now on
        weights: .npz file of the original's parameters by name, or a PyTorch state dict (.pt, .pth)
        labels: .npy file of the inputs' labels, int [inputs] or [inputs, positions]
        bound: largest loss; or give one of the short forms --accuracy-drop, --divergence, --relative-error, --cosine
        loss: what is bounded: accuracy, answers, kl, cosine, relative-error, or package.module:function of the
            original's outputs and the changed ones; auto: it follows from labels, outputs and graph, and is printed
        accuracy_drop: largest fall of the share of right answers; without labels, largest share of answers that change
        divergence: largest mean divergence of the softmax outputs, in nats; the loss kl
        relative_error: largest mean length of the outputs' change, relative to the outputs' length
        cosine: largest mean of 1 - cosine of the angle between the outputs and the original's, for embeddings
        outputs: names of the outputs that the loss compares; default: all
        plan: the .plan.json file of the container; without it, give the tolerance. If its loss is a function, --loss
            must name it, too, since its code is run
        replan: the container to write if a new plan is needed
        cost: as for the command plan
        leave: names or shell patterns of layers that a new plan is to store as they are
        out: the .watch.json file to write: the report with the loss of each input, of which python -m reports watch
            makes a page
    """
    from compress.planning.pipeline import plan as make_plan
    from compress.planning.watch import watch as compare
    from traces.files.npz import read_npy

    bounds: dict[str, Any] = {
        "accuracy_drop": accuracy_drop,
        "divergence": divergence,
        "relative_error": relative_error,
        "cosine": cosine,
    }
    if plan is None:
        original, tolerance = None, Tolerance(bound, loss, **bounds, outputs=outputs)
    elif not outputs and all(each is None for each in (bound, *bounds.values())):
        original = Plan.load(plan)
        tolerance = original.tolerance
        if loss != (tolerance.name if ":" in tolerance.name else AUTO):
            raise InputError(
                f"{plan}: its loss is {tolerance.name}, a function, whose code is run; if you know it, say --loss "
                f"{tolerance.name}, too"
                if loss == AUTO
                else f"{plan}: its loss is {tolerance.name}; found --loss {loss}, too; leave that out"
            )
    else:
        raise InputError(
            "the tolerance comes from --plan, or from --bound, --loss, --accuracy-drop, --divergence, "
            "--relative-error, --cosine and --outputs; give one of them"
        )
    if replan is not None:
        _check_suffix(replan)
    elif leave:
        raise InputError("--leave has no effect without a new plan; leave it out, or give --replan CONTAINER")
    values = given_inputs(inputs)
    source = _original(network, weights, values)
    answers = None if labels is None else read_npy(labels)
    report = compare(source, CompressedModel.load(container), values, tolerance, labels=answers, plan=original)
    _print_watch(report)
    if out is not None:
        dataclasses.replace(report, container=container.name, network=network).save(out)
        print(f"wrote {out}")
    needed = report.verdict == "broken" or bool(budget.bounds)
    kept = report.verdict != "broken"
    if replan is not None and needed:
        again = make_plan(
            source,
            values,
            labels=answers,
            tolerance=report.tolerance if original is None else tolerance,
            budget=budget,
            cost=_cost(cost, source, values),
            minimise="file_bytes" if original is None else original.minimise,
            leave=leave,
            **_options_of(original, budget),
        )
        _save_plan(again, replan)
        kept = again.feasible
    elif needed:
        print("Give --replan CONTAINER for a new plan.")
    if not kept:
        sys.exit(1)


def measure(
    container: tyro.conf.Positional[Path],
    network: tyro.conf.Positional[str],
    inputs: tyro.conf.Positional[Path],
    weights: Path | None = None,
    labels: Path | None = None,
    outputs: tuple[str, ...] = (),
) -> None:
    """Measure how far a container's network is from its original, both in floating point. Needs PyTorch.

    An array in fixed point loses more: python -m designs simulate CONTAINER --original NETWORK --precision fixed-16
    measures the loss in its arithmetic.

    For instance:

      python -m compress measure my.dc my_network:build inputs.npy --weights my_network.npz

    Args:
        container: the file to measure
        network: the original: an ONNX file, or package.module:function that builds it
        inputs: .npy file of inputs, [inputs, ...], or .npz file with an array for each of the network's inputs by name
        weights: file of the original's parameters by name
        labels: .npy file of the inputs' labels, int [inputs] or [inputs, positions]
        outputs: names of the outputs to measure; default: all
    """
    from compress.measurement import measure as compare
    from traces.files.npz import read_npy

    model = CompressedModel.load(container)
    answers = None if labels is None else read_npy(labels)
    values = given_inputs(inputs)
    _print_measurement(container, compare(model, _original(network, weights, values), values, answers, outputs))


def _original(network: str, weights: Path | None, inputs: Any) -> Any:
    """Return the network that a command compares with or plans for, as it is for these inputs."""
    from compress.networks import is_function, network_source

    if is_function(network) or weights is not None:
        return network_source(network, weights)[0]
    from traces import Network

    return Network.open(network, inputs)


def _check_suffix(container: Path) -> None:
    """Raise InputError before anything is planned, if the plan could not be written beside the container."""
    if container.suffix == ".json":
        raise InputError(f"{container}: the container's plan is written beside it as .json; choose another suffix")


def _options_of(plan: Plan | None, budget: Budget) -> dict[str, Any]:
    """Return the options of a plan for another one; its codebooks are those of the budget's array, if it has one."""
    options = {} if plan is None else plan.options
    if options.get("codebooks", "layer") != "layer" and budget.num_pes is not None:
        options["num_pes"] = budget.num_pes
    return options


def _cost(name: str | None, network: Any, inputs: Any) -> Any:
    """Return the cost function of this name, or None."""
    from traces.function_names import named_function

    return None if name is None else named_function(name, 2)(network, inputs)


def _save_plan(plan: ApplicablePlan, container: Path) -> None:
    """Write the container and its plan, and print the plan."""
    from rich.table import Table

    model = plan.apply()
    model.save(container)
    written = container.with_suffix(".plan.json")
    plan.save(written)
    table = Table(title="The plan, layer by layer", title_justify="left")
    rows = plan.rows
    for heading in rows[0]:
        table.add_column(heading, justify="left" if heading == "layer" else "right")
    for row in rows:
        table.add_row(*(f"{value:,.4g}" if isinstance(value, float) else str(value) for value in row.values()))
    console().print(table)
    costs = ", ".join(f"{name} {value:,.6g}" for name, value in plan.costs.items())
    print(f"{model.compression_ratio:.1f}x smaller; {costs}")
    print(f"The loss is {plan.tolerance.name}: {plan.planner.loss_of(plan.tolerance).description}.")
    assert plan.measured is not None
    assert plan.confidence is not None
    print(
        f"{plan.tolerance.name} {plan.measured:.4g} on {len(plan.planner.pool):,} inputs that were not analysed; at "
        f"most {plan.used:.4g} on inputs to come at a confidence level of {plan.tolerance.confidence:.0%}; the bound "
        f"{plan.tolerance.bound:g} holds for them at a confidence level of {_share(plan.confidence)}"
    )
    for note in plan.notes:
        print(f"Note: {note}.")
    if not plan.feasible:
        nearest = "".join(f"; the nearest {name} is {value:,.6g}" for name, value in plan.nearest.items())
        print(f"Not kept: {', '.join(plan.binding)}{nearest}")
    if plan.logarithms:
        print(
            f"The logarithms of these outputs were compared, since they are probabilities: {', '.join(plan.logarithms)}"
        )
    if plan.inputs:
        print(f"Planned on {len(plan.inputs)} inputs: {', '.join(map(str, plan.inputs))}")
    print(f"wrote {container} and {written}")


def _share(confidence: float) -> str:
    """Format a confidence level; it never reads as certainty."""
    return "over 99%" if confidence > 0.99 else f"{confidence:.0%}"


def _print_watch(report: Any) -> None:
    from rich.table import Table

    table = Table(title=f"On {report.inputs:,} new inputs, 95 % confidence intervals", title_justify="left")
    for heading in ("", "mean", "from", "to", "bound"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, interval, bound in (
        (f"tolerance used ({report.tolerance.name})", report.used, f"{report.tolerance.bound:g}"),
        *((name, each, "") for name, each in report.others.items()),
    ):
        table.add_row(name, f"{interval.mean:.4g}", f"{interval.low:.4g}", f"{interval.high:.4g}", bound)
    console().print(table)
    several = len({each.array for each in report.from_first_half}) > 1
    for name, errors in report.drift.items():
        print(f"{'drift' if name in report.drifting else 'no drift'}: {name}, {errors:+.1f} standard errors")
    for compared, drifts in (
        ("from those of the plan", report.from_plan),
        ("second half from first", report.from_first_half),
    ):
        names = ", ".join(
            f"{each.quantity}{f' of {each.array}' if several else ''}" for each in drifts if each.drifting
        )
        if drifts:
            print(f"drift: the inputs, {compared}: {names}" if names else f"no drift: the inputs, {compared}")
    print(f"The tolerance is {report.verdict}.")


def _print_measurement(container: Path, measured: Any) -> None:
    from rich.table import Table

    title = f"{container} beside its original, on {measured.inputs:,} inputs, both in floating point"
    table = Table(title=title, title_justify="left")
    headings = {
        "relative_error": "relative error, mean",
        "worst_relative_error": "worst",
        "worst_input": "of input",
        "cosine": "cosine, mean",
        "changed_answers": "answers that differ",
        "accuracy": "accuracy",
        "original_accuracy": "of the original",
    }
    given = {name for output in measured.outputs.values() for name in headings if getattr(output, name) is not None}
    shown = [name for name in headings if name in given]
    table.add_column("output")
    for name in shown:
        table.add_column(headings[name], justify="right")
    for name, output in measured.outputs.items():
        values = (getattr(output, each) for each in shown)
        table.add_row(name, *("" if value is None else f"{value:.4g}" for value in values))
    console().print(table)
    for name, output in measured.outputs.items():
        error = output.relative_error
        parts = [] if error is None else [f"differs from the original by {error:.2%} of its length in the mean"]
        if output.changed_answers is not None:
            parts.append(f"{output.changed_answers:.2%} of the answers differ")
        if output.divergence is not None:
            parts[-1] += f", with a divergence of {output.divergence:.4g} nats"
        if output.same_beginning is not None:
            parts[-1] += f" and {output.same_beginning:.1f} answers in the mean before the first that differs"
        if output.perplexity is not None:
            parts[-1] += f"; the perplexity is {output.perplexity:.4g}, that of the original "
            parts[-1] += f"{output.original_perplexity:.4g}"
        print(f"{name}: {' and '.join(parts)}.")


def main() -> None:
    """Run the command line."""
    commands: dict[str, Callable[..., None]] = {
        "pack": pack,
        "show": show,
        "unpack": unpack,
        "compact": compact,
        "export": export,
        "import": import_,
        "plan": plan,
        "watch": watch,
        "measure": measure,
    }
    run_commands(
        "python -m compress",
        "Compress networks without training them, show containers, and convert them for other tools.",
        commands,
    )


if __name__ == "__main__":
    run(main)
