"""Faults planted in the SystemVerilog files; the corner cases must find each of them.

A fault replaces one passage of one file. The array is built with the fault and runs the corner cases of one of the
arrays in `cases`. A case catches the fault if the machines then disagree on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from sim.rtl.agreement import disagreements
from sim.rtl.cases import ARRAYS, corner_cases
from sim.rtl.model import Sources, build, sources
from sim.rtl.parameters import RtlParameters


@dataclass(frozen=True)
class Fault:
    """Replacement of one passage of a block.

    Attributes
    ----------
    block : str
        Name of the block's file, without `.sv`.
    effect : str
        Effect of the fault in words.
    passage, replacement : str
        Text that is replaced, and its replacement.
    array : str
        Name of the array in `cases.ARRAYS` whose corner cases are run.
    """

    block: str
    effect: str
    passage: str
    replacement: str
    array: str = "bytes"

    def planted(self) -> Sources:
        """Return the files with the fault in them."""
        files = dict(sources())
        name = f"{self.block}.sv"
        assert files[name].count(self.passage) == 1, (self.block, self.effect)
        files[name] = files[name].replace(self.passage, self.replacement)
        return files


@dataclass(frozen=True)
class Verdict:
    """Cases that caught a fault.

    Attributes
    ----------
    fault : Fault
        The fault.
    cases : int
        Number of cases that were run.
    caught_in : tuple of str
        Names of the cases on which the machines disagree; empty if the fault survived.
    differing : tuple of str
        Quantities that differ in the first of them.
    """

    fault: Fault
    cases: int
    caught_in: tuple[str, ...]
    differing: tuple[str, ...]


FAULTS = (
    Fault("activation_scan", "a bubble after the last lane, too", "lane == LAST_LANE || (", "("),
    Fault("activation_scan", "the last row is left like any other", "is_last_row && !more)", "1'b0)"),
    Fault(
        "activation_scan",
        "does not wait for full queues",
        "assign broadcast = !finished && found && !a_queue_is_full;",
        "assign broadcast = !finished && found;",
    ),
    Fault(
        "activation_scan", "the bias has the number of its lane", "is_bias_row ? columns : first_column", "first_column"
    ),
    Fault("activation_scan", "the bias has the activation of its lane", "is_bias_row ? one : value", "value"),
    Fault("activation_scan", "lanes stay taken in the next row", "      taken <= '0;\n", ""),
    Fault("activation_scan", "a magnitude at the threshold is kept", "is_negative} > {", "is_negative} >= {", "one PE"),
    Fault("activation_scan", "negative values count one less", "magnitude, is_negative}", "magnitude, 1'b0}", "one PE"),
    Fault("activation_scan", "negative values have no magnitude", "is_negative ? ~activation : ", "", "one PE"),
    Fault("activation_scan", "the bias has a threshold, too", "? k == 0 : is_kept", "? k == 0 && is_kept : is_kept"),
    Fault("array", "no threshold", ".limit           (limit)", ".limit           ('0)"),
    Fault(
        "activation_scan", "a bias of activation zero is passed over", "? k == 0 :", "? k == 0 && one != '0 :", "one PE"
    ),
    Fault(
        "activation_scan",
        "every row has one column less",
        "first_column + COLUMNS_A_ROW",
        "first_column + COLUMNS_A_ROW - COLUMN_BITS'(1)",
    ),
    Fault(
        "lnzd_unit",
        "the second lane goes first",
        "if (valids[0]) payload = payloads[0*PAYLOAD_BITS+:PAYLOAD_BITS];\n"
        "    else if (valids[1]) payload = payloads[1*PAYLOAD_BITS+:PAYLOAD_BITS];",
        "if (valids[1]) payload = payloads[1*PAYLOAD_BITS+:PAYLOAD_BITS];\n"
        "    else if (valids[0]) payload = payloads[0*PAYLOAD_BITS+:PAYLOAD_BITS];",
    ),
    Fault("lnzd_unit", "others below are forgotten", "mores != 4'b0000 || ", "", "seven PEs"),
    Fault("lnzd_unit", "others beside are forgotten", " || (valids & (valids - 4'b0001)) != 4'b0000", ""),
    Fault(
        "leading_nonzero",
        "spare inputs of a unit are valid",
        "{{SPARE{1'b0}}, valids}",
        "{{SPARE{1'b1}}, valids}",
        "seven PEs",
    ),
    Fault(
        "leading_nonzero",
        "units exchange their payloads",
        ".payload (unit_payloads[i*",
        ".payload (unit_payloads[(UNITS-1-i)*",
        "seven PEs",
    ),
    Fault(
        "activation_queue",
        "a pop in the same cycle helps a full queue",
        "assign is_full = after_write == read_position;",
        "assign is_full = after_write == read_position && !pop;",
    ),
    Fault("activation_queue", "the reader does not come round", "read_position == LAST ? '0 : read", "read"),
    Fault(
        "activation_queue",
        "holds as many columns as it has slots less two",
        "assign is_full = after_write == read_position;",
        "assign is_full = after_write == read_position || num_columns == LAST - ONE_SLOT;",
    ),
    Fault(
        "activation_queue",
        "columns are pushed where the reader is",
        "if (push) slots[write_position]",
        "if (push) slots[read_position]",
    ),
    Fault("pointer_read", "both banks at the same address", "column[0] ? column[COLUMN_BITS-1:1] + ODD_COLUMN : ", ""),
    Fault("pointer_read", "begin and end of odd columns exchanged", "is_odd ? odd_word : even_word", "even_word"),
    Fault("pointer_read", "a column without entries stays", "address == end_address || after", "after"),
    Fault(
        "pointer_read",
        "a column without entries takes no cycle of its own",
        "assign is_free = !is_busy",
        "assign is_free = !is_busy || is_fresh",
    ),
    Fault("pointer_read", "a column stays a cycle longer than its entries", " || after_address == end_address", ""),
    Fault("pointer_read", "idle for a cycle between columns", "assign pop = is_free &&", "assign pop = !is_busy &&"),
    Fault("pointer_read", "every entry starts a column", "else if (send) is_fresh <= 1'b0;", ""),
    Fault(
        "sparse_matrix_read",
        "every column reads its line anew",
        "request_line == held_line)",
        "request_line == held_line && !request_starts_column)",
    ),
    Fault(
        "sparse_matrix_read", "the line of the layer before is kept", "if (reset || start)", "if (reset)", "seven PEs"
    ),
    Fault(
        "sparse_matrix_read",
        "every entry reads its line",
        "request && !(holds_line && request_line == held_line)",
        "request",
    ),
    Fault(
        "sparse_matrix_read",
        "places are counted in powers of two",
        "(QUOTIENT_BITS'(request_address) % DIVISOR)",
        "(request_address)",
    ),
    Fault(
        "sparse_matrix_read",
        "code and gap exchanged",
        "entry_gap, entry_code} = found_entry",
        "entry_code, entry_gap} = found_entry",
    ),
    Fault(
        "sparse_matrix_read",
        "the next column's activation",
        "found_activation <= request_activation",
        "found_activation <= activation",
    ),
    Fault("arithmetic", "no bypass", "written && written_row == product_row", "1'b0", "one PE"),
    Fault("arithmetic", "bypass from any row", "written && written_row == product_row", "written", "one PE"),
    Fault(
        "arithmetic",
        "bypass from a row that is not being written",
        "written && written_row == product_row",
        "written_row == product_row",
        "one PE",
    ),
    Fault("arithmetic", "padding writes its zero", "operands <= entry && !padding", "operands <= entry"),
    Fault("arithmetic", "the row of an entry is not skipped", " + ONE_ROW;", ";"),
    Fault("arithmetic", "rows go on from column to column", "(entry_starts_column ? '1 : last_row)", "last_row"),
    Fault("arithmetic", "padding does not advance the row", "if (entry) last_row", "if (entry && !padding) last_row"),
    Fault("arithmetic", "products are cut off", "$signed(halves + ONE_HALF) >>> 1", "halves >>> 1", "one PE"),
    Fault("arithmetic", "products lose their sign", "exact >>> (shift", "exact >> (shift", "one PE"),
    Fault(
        "arithmetic",
        "sums wrap around",
        "!overflow ? total[ACTIVATION_BITS-1:0] :",
        "1'b1 ? total[ACTIVATION_BITS-1:0] :",
    ),
    Fault("arithmetic", "sums saturate at the other end", "? LOWEST : HIGHEST", "? HIGHEST : LOWEST"),
    Fault(
        "arithmetic",
        "the sign is no part of the range",
        "assign excess = total[PRODUCT_BITS-1:ACTIVATION_BITS-1];",
        "assign excess = {total[PRODUCT_BITS-1:ACTIVATION_BITS], total[PRODUCT_BITS-1]};",
    ),
    Fault(
        "activation_write",
        "a value being written is read as it was",
        "was_written <= written && ",
        "was_written <= 1'b0 && ",
        "one PE",
    ),
    Fault(
        "activation_write",
        "any value being written is read",
        "written && written_row == accumulator_row",
        "written",
        "one PE",
    ),
    Fault("activation_write", "the files do not swap", "source_file == 1'(i)", "i == 0"),
    Fault("activation_write", "sums are written to the source, too", "(!is_source && written)", "written"),
    Fault("sparse_matrix_read", "a register too many", "PIPELINE_CYCLES - 5;", "PIPELINE_CYCLES - 4;", "deeper"),
    Fault(
        "delay",
        "a register too few",
        "registers[CYCLES*BITS-1-:BITS]",
        "registers[(CYCLES-1)*BITS-1-:BITS]",
        "deeper",
    ),
    Fault(
        "delay",
        "a reset leaves what is on its way",
        "if (reset) registers <= '0;\n    else registers",
        "if (!reset) registers",
        "deeper",
    ),
    Fault("broadcast_wires", "columns take no credit", "(sent && !known_pop[k])", "(sent && 1'b0)", "deeper"),
    Fault(
        "broadcast_wires",
        "a credit that comes back as another one is taken is lost",
        "(sent && !known_pop[k])",
        "(sent)",
        "deeper",
    ),
    Fault(
        "broadcast_wires",
        "credits come back too early",
        "1),\n      .BITS(NUM_PES)",
        "2),\n      .BITS(NUM_PES)",
        "deeper",
    ),
    Fault("broadcast_wires", "waits until no PE has credit", "|has_no_credit", "&has_no_credit", "deeper"),
    Fault("broadcast_wires", "one credit less than the queue holds", "QUEUE_SLOTS - 1", "QUEUE_SLOTS - 2", "deeper"),
    Fault("broadcast_wires", "columns on their way are forgotten", "&has_all_credits", "|has_all_credits", "distant"),
    Fault(
        "central_control",
        "the pipeline is a cycle shorter",
        "EDGE_BITS'(PIPELINE_CYCLES)",
        "EDGE_BITS'(PIPELINE_CYCLES - 1)",
    ),
    Fault(
        "central_control", "the scan's end does not count", "!scan_is_finished || an_entry_leaves", "an_entry_leaves"
    ),
    Fault(
        "central_control",
        "entries after the scan do not count",
        "!scan_is_finished || an_entry_leaves",
        "!scan_is_finished",
    ),
    Fault("central_control", "columns in the queues are forgotten", "is_drained && clock_edge", "clock_edge", "wide"),
    Fault(
        "central_control",
        "sums in the pipeline are forgotten",
        "is_drained && clock_edge >= last_active_edge + DRAIN",
        "is_drained",
    ),
    Fault("sram", "a word is not kept", "if (read) word", "word"),
    Fault(
        "sram", "the last word is overwritten all the time", "if (write) words[write_address]", "words[write_address]"
    ),
    Fault(
        "processing_element",
        "the column in the pointer read is forgotten",
        "queue_is_empty && !is_busy",
        "queue_is_empty",
        "wide",
    ),
    Fault(
        "processing_element",
        "lines are loaded into the codebook, too",
        ".load               (load_codebook)",
        ".load               (load_codebook || load_lines)",
    ),
    Fault(
        "array",
        "all PEs take the codebook of each",
        ".load_codebook   (load_pes[k] && load_memory[0])",
        ".load_codebook   (|load_pes && load_memory[0])",
    ),
    Fault("array", "waits until all queues are full", "(|queue_is_full)", "(&queue_is_full)"),
    Fault(
        "array",
        "the last PE sees no start",
        ".start           (start),\n          .source_file",
        ".start           (start && k != NUM_PES - 1),\n          .source_file",
        "seven PEs",
    ),
    Fault("array", "does not wait for columns on their way", " && wires_are_idle", "", "distant"),
)


def verdict_on(fault: Fault) -> Verdict:
    """Build the array with a fault, and run the corner cases of its array."""
    config, cases = ARRAYS[fault.array], corner_cases()[fault.array]
    program = build(RtlParameters.of(config), fault.planted())
    caught = {name: tuple(names) for name, names in disagreements(cases, config, program).items() if names}
    return Verdict(fault, len(cases), tuple(caught), next(iter(caught.values()), ()))


def mutation_run(faults: Sequence[Fault] = FAULTS, advance: Callable[[], None] = lambda: None) -> list[Verdict]:
    """Return the verdicts on `faults` in their order; run two at a time, and call `advance` after each."""

    def verdict(fault: Fault) -> Verdict:
        result = verdict_on(fault)
        advance()
        return result

    with ThreadPoolExecutor(max_workers=2) as pool:
        return list(pool.map(verdict, faults))
