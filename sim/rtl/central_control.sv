// Central control: starts a layer, detects its end, and selects the register files of the source.
//
// Edge 0 ends the cycle with `start`, which loads the first row of activations. The layer is over when its scan has
// finished and its last entry is written. Columns without entries may then still be on their way or in the queues. Their
// pointers are read before `running` falls, but they cost no `cycles`.
module central_control #(
    parameter int EDGE_BITS = 32,
    parameter int PIPELINE_CYCLES = 5  // from leaving the pointer read to being written
) (
    input  logic                 clock,
    input  logic                 reset,
    // from the host, while no layer runs
    input  logic                 start,
    input  logic                 swap,
    // from the array
    input  logic                 scan_is_finished,
    input  logic                 is_drained,        // no column is on its way
    input  logic                 an_entry_leaves,   // a pointer read in this cycle
    output logic                 running,
    output logic                 source_file,
    output logic [EDGE_BITS-1:0] cycles             // of the layer that ran last
);
  localparam logic [EDGE_BITS-1:0] ONE_EDGE = EDGE_BITS'(1);
  localparam logic [EDGE_BITS-1:0] DRAIN = EDGE_BITS'(PIPELINE_CYCLES);

  logic [EDGE_BITS-1:0] clock_edge;
  logic [EDGE_BITS-1:0] next_edge;
  logic [EDGE_BITS-1:0] last_active_edge;
  logic is_over;

  assign next_edge = clock_edge + ONE_EDGE;
  assign is_over = is_drained && clock_edge >= last_active_edge + DRAIN;
  assign cycles = last_active_edge + DRAIN + ONE_EDGE;

  always_ff @(posedge clock) begin
    if (reset) begin
      running <= 1'b0;
      source_file <= 1'b0;
    end else if (start) begin
      running <= 1'b1;
      clock_edge <= '0;
      last_active_edge <= '0;
    end else if (running) begin
      running <= !is_over;
      clock_edge <= next_edge;
      if (!scan_is_finished || an_entry_leaves) last_active_edge <= next_edge;
    end else if (swap) begin
      source_file <= !source_file;
    end
  end
endmodule
