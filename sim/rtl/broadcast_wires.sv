// Broadcast wires of several cycles: registers between the scan and the queues, and the scan's credits for slots.
//
// The scan has one credit for each column that a PE's queue can hold. A column that is sent takes a credit of every PE.
// The pop of the column in a PE gives that PE's credit back. So a column always finds a free slot. Columns and pops are
// on their way for BROADCAST_CYCLES - 1 cycles more than on wires without registers.
module broadcast_wires #(
    parameter int BROADCAST_CYCLES = 2,
    parameter int NUM_PES = 64,
    parameter int QUEUE_SLOTS = 8,
    parameter int COLUMN_BITS = 14,
    parameter int ACTIVATION_BITS = 16,
    parameter int POSITION_BITS = 3
) (
    input  logic                       clock,
    input  logic                       reset,
    // from the scan
    input  logic                       sent,
    input  logic [    COLUMN_BITS-1:0] sent_column,
    input  logic [ACTIVATION_BITS-1:0] sent_value,
    output logic                       lack_credit,
    // to the queues
    output logic                       broadcast,
    output logic [    COLUMN_BITS-1:0] broadcast_column,
    output logic [ACTIVATION_BITS-1:0] broadcast_value,
    // from the pointer reads
    input  logic [        NUM_PES-1:0] pop,
    output logic                       are_idle           // all credits are back
);
  localparam logic [POSITION_BITS-1:0] QUEUE_DEPTH = POSITION_BITS'(QUEUE_SLOTS - 1);
  localparam logic [POSITION_BITS-1:0] ONE_COLUMN = POSITION_BITS'(1);

  logic [NUM_PES-1:0] known_pop;
  logic [NUM_PES-1:0] has_no_credit;
  logic [NUM_PES-1:0] has_all_credits;

  delay #(
      .CYCLES(BROADCAST_CYCLES - 1),
      .BITS(1 + COLUMN_BITS + ACTIVATION_BITS)
  ) columns (
      .clock   (clock),
      .reset   (reset),
      .arriving({sent, sent_column, sent_value}),
      .leaving ({broadcast, broadcast_column, broadcast_value})
  );

  delay #(
      .CYCLES(BROADCAST_CYCLES - 1),
      .BITS(NUM_PES)
  ) pops (
      .clock   (clock),
      .reset   (reset),
      .arriving(pop),
      .leaving (known_pop)
  );

  generate
    for (genvar k = 0; k < NUM_PES; k++) begin : credits_of_pe
      logic [POSITION_BITS-1:0] credits;
      assign has_no_credit[k] = credits == '0;
      assign has_all_credits[k] = credits == QUEUE_DEPTH;
      always_ff @(posedge clock) begin
        if (reset) credits <= QUEUE_DEPTH;
        else if (sent && !known_pop[k]) credits <= credits - ONE_COLUMN;
        else if (!sent && known_pop[k]) credits <= credits + ONE_COLUMN;
      end
    end
  endgenerate

  assign lack_credit = |has_no_credit;
  assign are_idle = &has_all_credits;
endmodule
