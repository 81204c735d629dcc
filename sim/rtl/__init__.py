"""The array in synthesizable SystemVerilog; it agrees with `simulate` cycle by cycle.

    array.sv                      the PEs, the scan that serves them all, the central control
      activation_scan.sv          leading non-zero detection, over a tree of leading_nonzero.sv and lnzd_unit.sv
      broadcast_wires.sv          registers of a broadcast of several cycles, credits for slots of the queues
      central_control.sv          start, end, cycles, swap of source and destination registers
      processing_element.sv       one PE:
        activation_queue.sv       a ring of slots
        pointer_read.sv           two banks
        sparse_matrix_read.sv     a line of entries, kept
        arithmetic.sv             codebook, row address, multiply, add, bypass
        activation_write.sv       source and destination registers
      sram.sv                     every memory: one write port, one registered read port
      delay.sv                    registers in a row

`model` builds these files with Verilator, and `bench` runs packed layers on the result. `agreement` compares the runs
with the tick machine and the closed form, on the layers of `cases`. `mutations` plants faults that the comparison must
find. `synthesis` counts cells with Yosys.
"""
