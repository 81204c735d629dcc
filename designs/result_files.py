"""Names and columns of the files that the project's experiments leave, for those who write and those who read them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow as pa

from designs.design import DESIGN_COLUMNS
from designs.results import Column
from sim import Energy
from sim.limits import STEPS

# Experiment "benchmark"; "paper" leaves the same files
BENCHMARK_FILE = "eie_benchmark.parquet"
BENCHMARK_STEPS = ("useful", "padding", "imbalance", "scan", "start", "queues")  # a layer alone has no others
BENCHMARK_COLUMNS = [
    *DESIGN_COLUMNS,
    Column("layer", pa.string(), "", "layer of the benchmark"),
    Column("weights", pa.string(), "", "'real' as published, or a mask of the published density: 'random' or 'uneven'"),
    Column("draw", pa.int32(), "", "number of the draw, from 0; uneven masks may be drawn more than once"),
    Column("rows", pa.int32(), "rows", "output activations"),
    Column("columns", pa.int32(), "columns", "input activations"),
    Column("kept_weights", pa.int64(), "weights", "non-zero weights, without the bias"),
    Column("active_inputs", pa.int32(), "columns", "non-zero input activations"),
    Column("layer_macs", pa.int64(), "MACs", "kept weights in the columns of active inputs, without the bias"),
    Column("stored_entries", pa.int64(), "entries", "entries of the packed matrix, padding included"),
    Column("padding_entries", pa.int64(), "entries", "padding entries of the packed matrix"),
    Column("cycles", pa.int64(), "cycles", "cycles of the layer"),
    Column("cycles_in_batches", pa.int64(), "cycles", "cycles if the inputs come in batches of 4096, one by one"),
    Column("processed_entries", pa.int64(), "entries", "entries that the PEs process, padding included"),
    Column("useful_macs", pa.int64(), "MACs", "multiply-accumulates that are not padding"),
    Column("pointer_reads", pa.int64(), "pairs", "reads of a column's begin and end pointers"),
    Column("line_reads", pa.int64(), "lines", "line reads of the sparse-matrix SRAM"),
    Column("efficiency", pa.float64(), "1", "useful MACs per PE and cycle"),
    Column("limit_cycles", pa.int64(), "cycles", "least cycles of the layer (`sim.limits`)", newer=True),
    Column("limit_share", pa.float64(), "1", "least cycles over cycles", newer=True),
    Column("limit_binds", pa.string(), "", "what sets the limit: most loaded PE or broadcasts", newer=True),
    *(
        Column(f"share_{name}", pa.float64(), "1", f"share of the cycles: {STEPS[name]}", newer=True)
        for name in BENCHMARK_STEPS
    ),
    Column("theoretical_us", pa.float64(), "us", "time at one useful MAC per PE and cycle"),
    Column("latency_us", pa.float64(), "us", "cycles over the clock frequency"),
    Column("energy_pj", pa.float64(), "pJ", "energy of all blocks"),
    Column("limit_energy_pj", pa.float64(), "pJ", "least energy of the layer (`sim.entropy_limits`)", newer=True),
    Column("limit_bytes", pa.float64(), "B", "least of its weights in the SRAMs (`sim.weight_entropy`)", newer=True),
    Column("sram_bytes", pa.float64(), "B", "of its weights and pointers in the SRAMs", newer=True),
    *(Column(field.name, pa.float64(), "pJ", "energy of this block") for field in dataclasses.fields(Energy)),
    Column("paper_theoretical_us", pa.float64(), "us", "EIE, Table IV"),
    Column("paper_actual_us", pa.float64(), "us", "EIE, Table IV"),
]
LINE_WIDTH_FILE = "line_widths.parquet"
LINE_WIDTH_COLUMNS = [
    Column("layer", pa.string(), "", "layer of the benchmark"),
    Column("weights", pa.string(), "", "'real' as published, or a 'random' mask of the published density"),
    Column("line_bits", pa.int32(), "bit", "width of a line of the sparse-matrix SRAM"),
    Column("entries", pa.int64(), "entries", "entries that the PEs process, padding included"),
    Column("reads_kept", pa.int64(), "lines", "line reads of the machine, which keeps the line that it read last"),
    Column("reads_anew", pa.int64(), "lines", "line reads if each column reads its lines anew"),
    Column("reads_own_lines", pa.int64(), "lines", "line reads if each column begins a line of its own"),
    Column("read_pj", pa.float64(), "pJ", "energy of one read, preset eie (CACTI, 128 KB)"),
    Column(
        "read_horowitz_pj", pa.float64(), "pJ", "energy of one read, preset horowitz-45nm (in proportion to the width)"
    ),
]
TIMELINE_FILE = "alex8.timeline.npz"

# Experiment "paper", besides those above
PRECISION_FILE = "precision.parquet"
PRECISION_COLUMNS = [
    Column("network", pa.string(), "", "name of the network"),
    Column("images", pa.int64(), "images", "number of test images simulated"),
    Column("precision", pa.string(), "", "arithmetic of the array"),
    Column("accuracy", pa.float64(), "1", "share of the test images that are classified correctly"),
]
SHARING_FILE = "sharing.parquet"
SHARING_COLUMNS = [
    Column("network", pa.string(), "", "name of the network"),
    Column("convolution_bits", pa.int64(), "bit", "width of a convolution's shared weight; 32: not shared"),
    Column("connected_bits", pa.int64(), "bit", "width of a fully connected layer's shared weight; 32: not shared"),
    Column("accuracy", pa.float64(), "1", "share of the test images that are classified correctly"),
]

# Experiment "pe-codebooks"
_NETWORK = Column("network", pa.string(), "", "name of the network")
PE_CODEBOOKS_COLUMNS = {
    "codebooks": [
        _NETWORK,
        Column("sharing", pa.string(), "", "k-means after pruning by magnitude, or planned"),
        Column("codebooks", pa.string(), "", "one codebook, PEs with interleaved rows, PEs, or groups of PEs"),
        Column("density", pa.float64(), "1", "share of kept weights in each layer"),
        Column("weight_bits", pa.int64(), "bit", "width of a code"),
        Column("squared_error", pa.float64(), "1", "sum of squared changes of kept weights"),
        Column(
            "loss", pa.float64(), "nat", "divergence from the original network, mean over unseen inputs and positions"
        ),
        Column("accuracy", pa.float64(), "1", "share of unseen inputs classified correctly; -1: no labels"),
        Column("size_bytes", pa.int64(), "B", "size of the container"),
        Column("codebook_bytes", pa.int64(), "B", "codebooks in it, with the codebook of each row"),
        Column("array_cycles", pa.float64(), "cycles", "cycles of the array per input, mean"),
        Column("switch_cycles", pa.float64(), "cycles", "cycles of switches between layers per input, mean"),
        Column("energy_nj", pa.float64(), "nJ", "energy per input, mean"),
    ],
    "assignments": [
        _NETWORK,
        Column("layer", pa.string(), "", "name of the layer"),
        Column("rows", pa.int64(), "rows", "rows of its matrix"),
        Column("columns", pa.int64(), "columns", "columns of its matrix"),
        Column("codebooks", pa.int64(), "codebooks", "classes of rows with a codebook each"),
        Column("density", pa.float64(), "1", "share of kept weights"),
        Column("weight_bits", pa.int64(), "bit", "width of a code"),
        Column("free_error", pa.float64(), "1", "squared error of the classes found without a bound on loads"),
        Column("least_error", pa.float64(), "1", "least error with their codebooks (Hungarian method)"),
        Column("bounded_error", pa.float64(), "1", "squared error of the classes found with the bound on loads"),
        Column("lower_bound", pa.float64(), "1", "lower bound with their codebooks (linear program)"),
        Column("interleaved_error", pa.float64(), "1", "squared error with interleaved rows"),
        Column("own_error", pa.float64(), "1", "squared error with a codebook for each row"),
    ],
}


def pe_codebooks_files(folder: Path, part: str) -> list[Path]:
    """Return all result files of one part, a key of PE_CODEBOOKS_COLUMNS, of the experiment on codebooks of PEs."""
    return sorted(folder.glob(f"*/{part}.parquet"))


# Experiment "deep-compression"
CONTAINERS_FILE, CURVES_FILE = "containers.parquet", "curves.parquet"
CONTAINER_COLUMNS = [
    Column("network", pa.string(), "", "lenet_300_100 or lenet_5"),
    Column("recipe", pa.string(), "", "'smallest', or 'as the paper' with its densities and bits of each layer"),
    Column("coder", pa.string(), "", "huffman or range"),
    Column("file", pa.string(), "", "path of the container, relative to the folder of this file"),
    Column("error_before", pa.float64(), "1", "share of the test images that the uncompressed network misclassifies"),
    Column("error", pa.float64(), "1", "share of the test images that the container's network misclassifies"),
]
CURVE_COLUMNS = [
    Column("figure", pa.int64(), "", "figure of the paper: 6, 7 or 8"),
    Column("network", pa.string(), "", "lenet_300_100 or lenet_5"),
    Column("series", pa.string(), "", "name of the curve"),
    Column("weight_bits", pa.int64(), "bit", "width of a shared weight; 32: weights are not shared"),
    Column("density", pa.float64(), "1", "share of kept weights in the whole network"),
    Column("size_bytes", pa.int64(), "B", "size of the container"),
    Column("error", pa.float64(), "1", "share of the test images that are misclassified"),
]

# Experiment "resnet"
RESNET_CONTAINER, RESNET_FILE = "compressed.dc", "accuracy.parquet"
RESNET_COLUMNS = [
    Column("network", pa.string(), "", "name of the network"),
    Column("accuracy_before", pa.float64(), "1", "share of the test images classified correctly before compression"),
    Column("accuracy", pa.float64(), "1", "share of the test images that the container's network classifies correctly"),
]

# Experiment "planning"
_LOSS = Column("loss", pa.string(), "", "loss that plans bound")
PLANNING_COLUMNS = {
    "curves": [
        _NETWORK,
        _LOSS,
        Column("method", pa.string(), "", "planned, uniform, scan or tolerances"),
        Column("setting", pa.string(), "", "bound or settings given to the method"),
        Column("bound", pa.float64(), "1", "bound on the loss; -1: none was given"),
        Column("shown", pa.bool_(), "", "True if the table of bytes shows this bound"),
        Column("evaluations", pa.float64(), "", "runs of the network over the pool so far; -1: not counted"),
        Column("size_bytes", pa.int64(), "B", "size of the container"),
        Column("dense_bytes", pa.int64(), "B", "size of the same parameters in fp32"),
        Column("pool_loss", pa.float64(), "1", "mean loss on the pool"),
        Column("unseen_loss", pa.float64(), "1", "mean loss on unseen inputs"),
        Column("accuracy", pa.float64(), "1", "share of the unseen inputs classified correctly; -1: no labels"),
        Column("accuracy_before", pa.float64(), "1", "accuracy of the network before compression; -1: no labels"),
    ],
    "thresholds": [
        _NETWORK,
        _LOSS,
        Column("method", pa.string(), "", "uniform; blocks; or a plan: fastest; fastest, as small; smallest, as fast"),
        Column("bound", pa.float64(), "1", "bound on the loss of a plan; -1: none was given"),
        Column("bits", pa.int64(), "bit", "width of codes; of a plan, of the uniform setting beside it; -1: none"),
        Column("level", pa.float64(), "1", "share of activations to cut everywhere or in each block; -1: a plan"),
        Column("size_bytes", pa.int64(), "B", "size of the container"),
        Column("bits_per_weight", pa.float64(), "bit", "bits of the container for each parameter"),
        Column("broadcast_share", pa.float64(), "1", "activations that are broadcast, share of all"),
        Column("latency_us", pa.float64(), "us", "latency on the default array, per input or per token"),
        Column("energy_nj", pa.float64(), "nJ", "energy on the default array, per input or per token"),
        Column("pool_loss", pa.float64(), "1", "mean loss on the pool"),
        Column("unseen_loss", pa.float64(), "1", "mean loss on unseen inputs"),
        Column("accuracy", pa.float64(), "1", "share of the unseen inputs classified correctly; -1: no labels"),
        Column("accuracy_before", pa.float64(), "1", "accuracy of the network before compression; -1: no labels"),
        Column("same_answers", pa.float64(), "1", "share of answers, or most likely tokens, that stay; -1: no scores"),
        Column(
            "same_beginning",
            pa.float64(),
            "tokens",
            "tokens before the first that differs, of 40 greedy ones; -1: none",
        ),
        Column("perplexity", pa.float64(), "1", "perplexity of the unseen texts; -1: no texts"),
        Column("perplexity_before", pa.float64(), "1", "perplexity before compression; -1: no texts"),
    ],
    "coverage": [
        _NETWORK,
        _LOSS,
        Column("inputs", pa.string(), "", "pool: others or own training inputs, with inputs for evaluation or without"),
        Column("seed", pa.int64(), "", "seed of the pool and the plan"),
        Column("pool", pa.int64(), "inputs", "inputs of the pool"),
        Column("bound", pa.float64(), "1", "bound on the loss"),
        Column("confidence", pa.float64(), "1", "confidence level that was asked for"),
        Column("feasible", pa.bool_(), "", "True if the bound holds at this level"),
        Column("measured", pa.float64(), "1", "mean loss on the inputs that the plan was measured on; -1: none"),
        Column("limit", pa.float64(), "1", "stated upper limit of the mean loss on unseen inputs"),
        Column("level", pa.float64(), "1", "stated level at which the bound holds; -1: none"),
        Column("unseen_loss", pa.float64(), "1", "mean loss on unseen inputs"),
        Column("unseen_error", pa.float64(), "1", "standard error of that mean"),
        Column("size_bytes", pa.int64(), "B", "size of the container"),
        Column("lower_measured", pa.float64(), "1", "as `measured`, of the plan at the level 0.5"),
        Column("lower_unseen_loss", pa.float64(), "1", "as `unseen_loss`, of the plan at the level 0.5"),
        Column("lower_size_bytes", pa.int64(), "B", "size of the plan at the level 0.5"),
        Column("seconds", pa.float64(), "s", "time of the first plan, its analysis included"),
        Column("notes", pa.string(), "", "notes of the plan"),
    ],
    "search": [
        _NETWORK,
        _LOSS,
        Column("method", pa.string(), "", "planned, or black box"),
        Column("bound", pa.float64(), "1", "loss of the plan on the pool, which bounds the black-box search"),
        Column("evaluations", pa.float64(), "", "runs of the network over the pool so far"),
        Column("size_bytes", pa.int64(), "B", "size of the smallest feasible container so far; -1: none yet"),
        Column("pool_loss", pa.float64(), "1", "mean loss of that container on the pool; -1: unknown"),
        Column("unseen_loss", pa.float64(), "1", "mean loss of that container on unseen inputs; -1: unknown"),
        Column("accuracy", pa.float64(), "1", "accuracy of that container on unseen inputs; -1: unknown"),
    ],
    "predictions": [
        _NETWORK,
        _LOSS,
        Column("predicted", pa.float64(), "1", "loss of a random plan, predicted from the analysis alone"),
        Column("measured", pa.float64(), "1", "loss of the plan, measured on unseen inputs"),
        Column("changed_answers", pa.float64(), "1", "share of these inputs whose answer changes"),
    ],
    "budgets": [
        _NETWORK,
        _LOSS,
        Column("asked", pa.string(), "", "budget of the plan"),
        Column("seconds", pa.float64(), "s", "time of planning; the first plan's includes the analysis"),
        Column("measurements", pa.float64(), "", "runs of the network over the pool"),
        Column("size_bytes", pa.float64(), "B", "size of the container"),
        Column("latency_us", pa.float64(), "us", "latency per input on the array"),
        Column("energy_nj", pa.float64(), "nJ", "energy per input on the array"),
        Column("used", pa.float64(), "1", "loss; measured, or predicted where nothing was run"),
        Column("bound", pa.float64(), "1", "bound on the loss"),
        Column("confidence", pa.float64(), "1", "confidence level at which the bound holds per input; -1: not run"),
        Column("feasible", pa.bool_(), "", "True if tolerance and budget hold"),
        Column("binding", pa.string(), "", "bounds that keep the plan from being smaller, or that it violates"),
        Column("nearest", pa.string(), "", "reachable values of violated bounds"),
    ],
    "committee": [
        _NETWORK,
        Column("pool", pa.string(), "", "composition of the pool: balanced, long tail, or five of one class"),
        Column("how", pa.string(), "", "choice of the inputs: committee, strata or random"),
        Column("number", pa.int64(), "inputs", "number of inputs chosen"),
        Column("seed", pa.int64(), "", "seed of the pool and the choice"),
        Column("size_bytes", pa.int64(), "B", "size of the container planned on them"),
        Column("bound", pa.float64(), "1", "bound on the loss"),
        Column("feasible", pa.bool_(), "", "True if the plan says that the bound holds"),
        Column("limit", pa.float64(), "1", "stated upper limit of the mean loss"),
        Column("unseen_loss", pa.float64(), "1", "mean loss on unseen inputs whose classes have the pool's shares"),
        Column("rare_loss", pa.float64(), "1", "mean loss on the unseen inputs of the pool's rarest class"),
    ],
    "structured": [
        _NETWORK,
        _LOSS,
        Column("minimised", pa.string(), "", "cost that the plan minimises: file_bytes or latency_us"),
        Column("bound", pa.float64(), "1", "bound on the loss"),
        Column("structured", pa.bool_(), "", "True if the plan may remove units"),
        Column("units", pa.int64(), "units", "neurons, channels and heads that can be removed"),
        Column("removed", pa.int64(), "units", "those that the plan removes"),
        Column("least_effect", pa.float64(), "1", "least effect of a unit, share of the change of the plan with all"),
        Column("feasible", pa.bool_(), "", "True if the bound holds"),
        Column("size_bytes", pa.int64(), "B", "size of the compact container"),
        Column("cycles", pa.float64(), "cycles", "cycles of the compact network per input on the default array, mean"),
        Column("energy_nj", pa.float64(), "nJ", "energy per input, likewise"),
        Column("pool_loss", pa.float64(), "1", "mean loss on the pool"),
        Column("unseen_loss", pa.float64(), "1", "mean loss on unseen inputs"),
    ],
    "compaction": [
        _NETWORK,
        Column("density", pa.float64(), "1", "share of kept weights in each layer, pruned by magnitude"),
        Column("weight_bits", pa.int64(), "bit", "width of codes"),
        *(
            Column(f"{when}_{name}", kind, unit, f"{what}, {when} compaction")
            for when in ("before", "after")
            for name, kind, unit, what in (
                ("bytes", pa.int64(), "B", "size of the container"),
                ("broadcasts", pa.float64(), "activations", "broadcast activations per input on the default array"),
                ("cycles", pa.float64(), "cycles", "cycles per input on it, mean"),
                ("energy_nj", pa.float64(), "nJ", "energy per input on it, mean"),
            )
        ),
        Column("same_outputs", pa.bool_(), "", "True if the outputs of the array are the same, bit for bit"),
    ],
    "speed": [
        Column("what", pa.string(), "", "one forward and backward pass of the pool, a plan, or a plan again"),
        Column("layers", pa.int64(), "layers", "layers of the ResNet"),
        Column("weights", pa.int64(), "weights", "parameters of the network"),
        Column("inputs", pa.int64(), "inputs", "inputs of the pool"),
        Column("seconds", pa.float64(), "s", "time"),
        Column("passes", pa.float64(), "1", "time in forward and backward passes of the pool"),
    ],
    "large": [
        Column("name", pa.string(), "", "sentence encoder, or one wide layer"),
        Column("weights", pa.int64(), "weights", "parameters of the network"),
        Column("inputs", pa.int64(), "inputs", "inputs of the pool"),
        _LOSS,
        Column("bound", pa.float64(), "1", "bound on the loss"),
        Column("limit", pa.float64(), "1", "stated upper limit of the mean loss on unseen inputs"),
        Column("level", pa.float64(), "1", "stated level at which the bound holds; -1: none"),
        Column("feasible", pa.bool_(), "", "True if the bound holds at the level that was asked for"),
        Column("unseen_loss", pa.float64(), "1", "mean loss on unseen inputs"),
        Column("size_bytes", pa.int64(), "B", "size of the container"),
        Column("seconds", pa.float64(), "s", "time of planning"),
        Column("start_mib", pa.float64(), "MiB", "largest memory of the process before planning"),
        Column("peak_mib", pa.float64(), "MiB", "largest memory of the process after planning"),
    ],
}

# Experiment "rtl"
RTL_COLUMNS = {
    "agreement": [
        Column("layers", pa.string(), "", "layers that were run"),
        Column("num_pes", pa.int32(), "PEs", "number of PEs of the array"),
        Column("queue_slots", pa.int32(), "slots", "slots of each queue"),
        Column("runs", pa.int32(), "layers", "number of layers run on the three machines"),
        Column("disagreeing", pa.int32(), "layers", "number of layers on which the machines differ"),
        Column("differences", pa.string(), "", "layers that differ, each with the names of the differing values"),
        Column("cycles", pa.int64(), "cycles", "cycles of all these layers"),
        Column("pointer_reads", pa.int64(), "pairs", "pointer reads of all these layers"),
        Column("line_reads", pa.int64(), "lines", "line reads of all these layers"),
    ],
    "speed": [
        Column("machine", pa.string(), "", "name of the machine"),
        Column("weights", pa.string(), "", "weights of the Alex-8 that was run: 'real' or 'random'"),
        Column("cycles", pa.int64(), "cycles", "simulated cycles"),
        Column("seconds", pa.float64(), "s", "time of the simulation"),
    ],
    "synthesis": [
        Column("block", pa.string(), "", "block of the array"),
        Column("gates", pa.int64(), "gates", "two-input gates, inverters and multiplexers"),
        Column("flip_flops", pa.int64(), "bit", "bits in flip-flops"),
        Column("memory_bits", pa.int64(), "bit", "bits in memories"),
        Column("assumed_bits", pa.int64(), "bit", "memory that the area model assumes; -1: it takes the paper's block"),
        Column("lnzd_units", pa.int64(), "units", "units of leading non-zero detection"),
        Column("assumed_lnzd_units", pa.int64(), "units", "such units that the area model assumes in the array"),
    ],
    "cells": [
        Column("block", pa.string(), "", "block of the array, a part of one, or flip_flop"),
        Column("setting", pa.string(), "", "setting in which the block differs from the paper's; empty: none"),
        Column("library", pa.string(), "", "cell library"),
        Column("area_um2", pa.float64(), "um2", "area of the cells, without SRAMs and wires"),
        Column("flip_flops", pa.int64(), "bit", "flip-flops"),
        Column("flip_flop_um2", pa.float64(), "um2", "area of the flip-flops"),
        Column("leakage_nw", pa.float64(), "nW", "leakage of the cells"),
        Column("path_ns", pa.float64(), "ns", "longest path by OpenSTA, without SRAMs; -1: OpenSTA is missing"),
        Column("abc_path_ns", pa.float64(), "ns", "longest path by ABC, without flip-flops; -1: no path"),
        Column("area_45nm_um2", pa.float64(), "um2", "area scaled to 45 nm"),
        Column("path_45nm_ns", pa.float64(), "ns", "longest path by OpenSTA scaled to 45 nm; -1: OpenSTA is missing"),
        Column("model_um2", pa.float64(), "um2", "area of the cost model; -1: none to compare"),
        Column("paper_um2", pa.float64(), "um2", "EIE, Table II; -1: none to compare"),
        Column("event", pa.string(), "", "event that an energy belongs to; empty: no activity"),
        Column("events", pa.int64(), "events", "number of events in Alex-8"),
        Column("weights", pa.string(), "", "weights of that Alex-8: 'real' or 'random'"),
        Column("flip_flop_toggles", pa.float64(), "1/cycle", "changes of a flip-flop per cycle in Alex-8"),
        Column("net_toggles", pa.float64(), "1/cycle", "changes of a net per cycle in Alex-8, without glitches"),
        Column("event_pj", pa.float64(), "pJ", "switching energy of an event; -1: none"),
        Column("clock_pj", pa.float64(), "pJ", "energy of the flip-flops' clock pins per cycle, ungated; -1: none"),
        Column("event_45nm_pj", pa.float64(), "pJ", "switching energy of an event scaled to 45 nm; -1: none"),
        Column("clock_45nm_pj", pa.float64(), "pJ", "energy of clock pins per cycle scaled to 45 nm; -1: none"),
        Column("model_pj", pa.float64(), "pJ", "energy of an event in the cost model; -1: none to compare"),
    ],
    "mutations": [
        Column("block", pa.string(), "", "block of the planted fault"),
        Column("fault", pa.string(), "", "description of the fault"),
        Column("cases", pa.int32(), "layers", "number of layers run on the faulty array"),
        Column("caught", pa.int32(), "layers", "number of layers that show the fault"),
        Column("first_case", pa.string(), "", "first layer that shows it"),
        Column("differing", pa.string(), "", "names of the values that differ there"),
    ],
}


# Command "breakeven"
BREAKEVEN_FILE = "breakeven.parquet"
BREAKEVEN_COLUMNS = [
    Column("layer", pa.string(), "", "name of the layer"),
    Column("rows", pa.int64(), "rows", "rows of a group"),
    Column("columns", pa.int64(), "columns", "columns of a group"),
    *(
        Column(
            f"{name}_left_out", pa.int64(), name, f"{name} that the PEs leave out, and the other array not", newer=True
        )
        for name in ("rows", "columns")
    ),
    Column("groups", pa.int64(), "groups", "groups, one after the other"),
    Column("batch", pa.int64(), "inputs", "inputs of the network that come at once"),
    Column("vectors", pa.int64(), "vectors", "vectors of a group for all of them, in a run"),
    Column("runs", pa.float64(), "runs", "runs that follow one another, as steps of a recurrent layer", newer=True),
    Column("window_reuse", pa.float64(), "windows", "windows of a convolution that an activation is in", newer=True),
    Column("density", pa.float64(), "1", "share of the weights that are not zero"),
    Column("activation_density", pa.float64(), "1", "share of the activations that are not zero"),
    Column("num_pes", pa.int32(), "PEs", "PEs of the array"),
    Column("latency_us", pa.float64(), "us", "time of the array of PEs"),
    Column("energy_nj", pa.float64(), "nJ", "energy of the array of PEs"),
    Column("from_dram", pa.bool_(), "", "True if the weights exceed its SRAMs and are loaded"),
    Column("dense_bits", pa.int32(), "bit", "width of a weight of the dense array"),
    Column("dataflow", pa.string(), "", "operand that stays in a MAC of the dense array"),
    Column("dense_rows", pa.int64(), "MACs", "rows of the dense array"),
    Column("dense_columns", pa.int64(), "MACs", "columns of the dense array"),
    Column("dense_latency_us", pa.float64(), "us", "time of the dense array"),
    Column("dense_energy_nj", pa.float64(), "nJ", "energy of the dense array"),
    Column("dense_from_dram", pa.bool_(), "", "True if its weights exceed its SRAM and are loaded"),
    Column("latency_density", pa.float64(), "1", "density up to which the array of PEs is faster; 0: never, 1: always"),
    Column("energy_density", pa.float64(), "1", "density up to which it takes less energy; 0: never, 1: always"),
]

# Experiment "networks"
NETWORKS_FILE = "networks.parquet"
NETWORK_STEPS = ("pack", "measure", "plan", "simulate", "codesign", "report")
NETWORKS_COLUMNS = [
    Column("network", pa.string(), "", "name of the network"),
    Column("weights", pa.int64(), "weights", "compressed weights; a tied weight counts once"),
    Column("products", pa.int64(), "products", "products of a weight with activations"),
    Column("kinds", pa.string(), "", "kinds of these products"),
    Column("inputs", pa.int64(), "inputs", "inputs that were simulated"),
    Column("vectors", pa.float64(), "vectors/input", "vectors that are multiplied, all products and groups"),
    Column("off_array_operations", pa.int64(), "operations", "operations that are computed off the array"),
    Column("off_array_elements", pa.int64(), "values/input", "values that they compute"),
    Column("off_array_macs", pa.int64(), "MACs/input", "multiply-accumulates among them"),
    Column("useful_macs", pa.float64(), "MACs/input", "multiply-accumulates on the array that are not padding"),
    Column("cycles", pa.float64(), "cycles/input", "cycles of the array, mean"),
    Column("energy_pj", pa.float64(), "pJ/input", "energy of the array, mean"),
    Column("largest_difference", pa.float64(), "1", "of a product's outputs from ONNX Runtime's, relative"),
    Column("output_difference", pa.float64(), "1", "of the network's outputs, likewise"),
    Column("file_bytes", pa.int64(), "bytes", "of the planned container"),
    Column("graph_bytes", pa.int64(), "bytes", "of the graph in it"),
    Column("compression_ratio", pa.float64(), "1", "parameters in fp32 over the container"),
    *(Column(f"{step}_s", pa.float64(), "s", f"time of the command {step}, start included") for step in NETWORK_STEPS),
]


# Experiment "unevenness"
UNEVENNESS_FILE = "unevenness.parquet"
_MASKS = {
    "random": "random masks",
    "spreads": "spreads of rows and columns alone",
    "dead": "and dead rows and columns",
    "blocks": "and blocks of rows",
    "tails": "and heavy tails of the rows",
    "own": "the whole model: and the fullest classes",
    "predicted": "the whole model, with parameters predicted from other groups",
}
UNEVENNESS_COLUMNS = [
    Column("network", pa.string(), "", "network of the layer"),
    Column("pruning", pa.string(), "", "how it was pruned"),
    Column("layer", pa.string(), "", "name of the layer"),
    Column("kind", pa.string(), "", "convolution, attention or fully connected"),
    Column("rows", pa.int32(), "rows", "output activations"),
    Column("columns", pa.int32(), "columns", "input activations"),
    Column("density", pa.float64(), "1", "share of the weights kept"),
    Column("num_pes", pa.int32(), "PEs", "PEs of the array"),
    Column("main", pa.bool_(), "", "true at one number of PEs for each layer, 64 if it has 512 rows or more"),
    Column("cycles", pa.float64(), "cycles", "cycles of the pruned layer, mean over inputs"),
    Column("draw_deviation", pa.float64(), "1", "relative standard deviation of the cycles of one draw of the model"),
    *(
        Column(f"{name}_difference", pa.float64(), "1", f"relative difference of the cycles of drawn masks: {masks}")
        for name, masks in _MASKS.items()
    ),
]

# Experiment "space-ends"
_SEED = Column("seed", pa.int64(), "", "seed of the search")
_PARAMETER = Column("parameter", pa.string(), "", "parameter of the space")
SPACE_ENDS_COLUMNS = {
    "shares": [
        _NETWORK,
        _SEED,
        Column("version", pa.string(), "", "'today', or 'earlier' for the trials of an earlier version"),
        _PARAMETER,
        Column("smallest", pa.string(), "", "smallest or first value of the parameter"),
        Column("largest", pa.string(), "", "largest or last value"),
        Column("members", pa.int64(), "designs", "members of the front"),
        Column("at_smallest", pa.float64(), "1", "share of the members at the smallest value"),
        Column("at_largest", pa.float64(), "1", "share of the members at the largest value"),
    ],
    "moves": [
        _NETWORK,
        _SEED,
        _PARAMETER,
        Column("direction", pa.string(), "", "'up' to the next value of the parameter, or 'down'"),
        Column("stops", pa.string(), "", "the objective that worsens most, or why the moved design is not feasible"),
        Column("members", pa.int64(), "designs", "members that this stops"),
        Column("worsening", pa.float64(), "1", "median relative worsening, or excess over a bound; nan if neither"),
    ],
    "earlier": [
        _NETWORK,
        _SEED,
        Column("trial", pa.int64(), "", "number of the earlier trial"),
        Column("feasible", pa.bool_(), "", "true if all bounds are kept, as predicted today"),
        Column("reason", pa.string(), "", "the reason why not"),
        Column(
            "optimal", pa.bool_(), "", "true if no other feasible one of these members dominates it, as predicted today"
        ),
        Column("latency_us_ratio", pa.float64(), "1", "latency predicted today over that of the earlier version"),
        Column("energy_nj_ratio", pa.float64(), "1", "energy, likewise"),
        Column(
            "area_mm2_ratio", pa.float64(), "1", "area, likewise; nan, as the others, if there is no prediction today"
        ),
    ],
}


def space_ends_files(folder: Path, part: str) -> list[Path]:
    """Return all result files of one part, a key of SPACE_ENDS_COLUMNS, of the experiment on the ends of the space."""
    return sorted(folder.glob(f"*/*/{part}.parquet"))


_COSTS = [
    Column("accuracy_loss", pa.float64(), "1", "predicted loss of accuracy"),
    Column("latency_us", pa.float64(), "us", "predicted latency per input"),
    Column("energy_nj", pa.float64(), "nJ", "predicted energy per input"),
    Column("area_mm2", pa.float64(), "mm2", "area of the array"),
]

# Experiment "search-quality"
SEARCH_QUALITY_COLUMNS = {
    "truth": [
        _NETWORK,
        Column("choices", pa.string(), "", "density and bits of a code of each layer, as JSON"),
        Column("array", pa.string(), "", "parameters of the array in the stated space, as JSON"),
        *_COSTS,
    ],
    "space": [
        _NETWORK,
        Column("most_loss", pa.float64(), "1", "bound on the loss of accuracy"),
        Column("compressions", pa.int64(), "", "compressions that may keep the bound"),
        Column("arrays", pa.int64(), "", "arrays for each compression"),
        Column("designs", pa.int64(), "designs", "designs that were costed"),
        Column("members", pa.int64(), "designs", "members of the true front"),
        Column("member_compressions", pa.int64(), "", "compressions of these members"),
        Column("processor_s", pa.float64(), "s", "processor time of the enumeration"),
    ],
    "searches": [
        _NETWORK,
        _SEED,
        Column("search", pa.string(), "", "'compressions' with all arrays; 'tpe' and 'random': one design a trial"),
        Column("trials", pa.int64(), "", "trials: compressions, or designs"),
        Column("designs", pa.int64(), "designs", "designs that were costed"),
        Column("processor_s", pa.float64(), "s", "processor time of the search; the network was analysed before"),
        Column("members", pa.int64(), "designs", "members of the front of the search"),
        Column("hypervolume", pa.float64(), "1", "hypervolume relative to that of the true front"),
        Column("found", pa.float64(), "1", "share of the true members that the search found"),
        Column("matched", pa.float64(), "1", "share of the true members that it matches within 5 % in all costs"),
        Column("worst", pa.float64(), "1", "largest ratio of costs by which a true member is missed"),
    ],
}
"""Columns of each part of the experiment on the quality of searches."""


def search_quality_files(folder: Path, part: str) -> list[Path]:
    """Return all result files of one part, a key of SEARCH_QUALITY_COLUMNS, of the experiment on searches."""
    return sorted(folder.glob("*/[0-9]*/*.parquet" if part == "searches" else f"*/{part}.parquet"))


def planning_file(folder: Path, network: str, part: str, name: str = "") -> Path:
    """Return the path of a result file of one part, a key of PLANNING_COLUMNS, of the experiment on planning."""
    return folder / network / part / f"{name or part}.parquet"


def planning_files(folder: Path, part: str) -> list[Path]:
    """Return all result files of one part, a key of PLANNING_COLUMNS, of the experiment on planning."""
    return sorted(folder.glob(f"*/{part}/*.parquet"))


# Experiment "outside"
OUTSIDE_COLUMNS = {
    "sparseloop": [
        Column("layer", pa.string(), "", "layer of Sparseloop's sparse MobileNet"),
        Column("num_pes", pa.int32(), "PEs", "number of PEs of the array"),
        Column("positions", pa.int64(), "vectors", "positions of the layer"),
        Column("useful_macs", pa.int64(), "MACs", "multiply-accumulates of the array that are not padding"),
        Column("cycles", pa.int64(), "cycles", "cycles of the array, all positions one after the other"),
    ],
    "mlperf_tiny": [
        _NETWORK,
        Column("weights", pa.int64(), "weights", "weights of all products"),
        Column("macs", pa.float64(), "MACs/input", "multiply-accumulates before pruning"),
        Column("loss", pa.string(), "", "loss that the plan bounds"),
        Column("bound", pa.float64(), "1", "its bound"),
        Column("unseen", pa.int64(), "inputs", "inputs that no plan was made from"),
        Column("images", pa.int64(), "inputs", "those of them that ran on the array for the accuracy"),
        Column("container_bytes", pa.int64(), "B", "size of the planned container"),
        Column("accuracy", pa.float64(), "1", "right answers of the original in ONNX Runtime; -1: no labels are here"),
        Column("container_accuracy", pa.float64(), "1", "of the planned container in ONNX Runtime, likewise"),
        Column("array_accuracy", pa.float64(), "1", "of the planned container on the array, likewise"),
        Column(
            "array_differences", pa.int64(), "answers", "answers of the array that differ from ONNX Runtime's; -1: none"
        ),
    ],
}
"""Columns of each part of the experiment on published numbers."""


def outside_file(folder: Path, part: str, network: str = "") -> Path:
    """Return the path of a result file of the experiment on published numbers: of a part, a key of OUTSIDE_COLUMNS."""
    return folder / f"{network or part}.parquet"


def outside_files(folder: Path, part: str) -> list[Path]:
    """Return all result files of one part of the experiment on published numbers."""
    if part == "sparseloop":
        return [path for path in [outside_file(folder, part)] if path.exists()]
    return sorted(path for path in folder.glob("*.parquet") if path != outside_file(folder, "sparseloop"))
