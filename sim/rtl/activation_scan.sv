// Leading non-zero detection: picks one activation above the limit per cycle, in the order of the index.
//
// The limit is the largest magnitude that counts as zero: 0, or the threshold of the layer. |a| > limit holds if
// a > limit, or, since |a| = ~a + 1 below zero, if ~a >= limit. Both are one comparison with the sign as lowest bit.
//
// The source registers of each PE hold one activation of a row and put it out in the cycle after `row_read`. Leaving a
// row takes a cycle of its own, unless the last value picked was in the row's last lane: then the next row is read in
// the same cycle. The bias is the first lane of a row of its own, after all others.
module activation_scan #(
    parameter int NUM_PES = 64,
    parameter int COLUMN_BITS = 14,
    parameter int ROW_BITS = 9,
    parameter int ACTIVATION_BITS = 16
) (
    input  logic                               clock,
    input  logic                               reset,
    input  logic                               start,             // the cycle that loads the first row
    // the layer
    input  logic [            COLUMN_BITS-1:0] columns,
    input  logic [                 ROW_BITS:0] input_rows,
    input  logic                               has_bias,
    input  logic [        ACTIVATION_BITS-1:0] one,               // the activation of the bias
    input  logic [        ACTIVATION_BITS-1:0] limit,             // largest magnitude that counts as zero
    // the source registers
    output logic                               row_read,
    output logic [               ROW_BITS-1:0] row_number,
    input  logic [NUM_PES*ACTIVATION_BITS-1:0] row,
    // the broadcast
    input  logic                               a_queue_is_full,
    output logic                               broadcast,
    output logic [            COLUMN_BITS-1:0] broadcast_column,
    output logic [        ACTIVATION_BITS-1:0] broadcast_value,
    output logic                               finished,
    // for counters
    output logic                               bubble,
    output logic                               blocked
);
  localparam int LANE_BITS = NUM_PES > 1 ? $clog2(NUM_PES) : 1;
  localparam int PAYLOAD_BITS = LANE_BITS + ACTIVATION_BITS;
  localparam logic [LANE_BITS-1:0] LAST_LANE = LANE_BITS'(NUM_PES - 1);
  localparam logic [NUM_PES-1:0] FIRST_LANE = NUM_PES'(1);
  localparam logic [ROW_BITS:0] ONE_ROW = (ROW_BITS + 1)'(1);
  localparam logic [COLUMN_BITS-1:0] COLUMNS_A_ROW = COLUMN_BITS'(NUM_PES);

  logic [ROW_BITS:0] current_row;
  logic [COLUMN_BITS-1:0] first_column;  // of the current row
  logic [NUM_PES-1:0] taken;  // lanes of the current row that have been broadcast

  logic is_bias_row;
  logic is_last_row;
  logic [NUM_PES-1:0] left;  // lanes that still hold a value to be broadcast
  logic [NUM_PES*PAYLOAD_BITS-1:0] lanes;
  logic found;
  logic more;
  logic [LANE_BITS-1:0] lane;
  logic [ACTIVATION_BITS-1:0] value;
  logic leaves_row;
  logic [ROW_BITS:0] next_row;

  assign is_bias_row = has_bias && current_row == input_rows;
  assign is_last_row = has_bias ? current_row == input_rows : current_row + ONE_ROW == input_rows;

  generate
    for (genvar k = 0; k < NUM_PES; k++) begin : lane_of_pe
      logic [ACTIVATION_BITS-1:0] activation;
      logic is_negative;
      logic [ACTIVATION_BITS-1:0] magnitude;  // less one below zero
      logic is_kept;
      assign activation = row[k*ACTIVATION_BITS+:ACTIVATION_BITS];
      assign is_negative = activation[ACTIVATION_BITS-1];
      assign magnitude = is_negative ? ~activation : activation;
      assign is_kept = {magnitude, is_negative} > {limit, 1'b0};
      assign left[k] = !taken[k] && (is_bias_row ? k == 0 : is_kept);
      assign lanes[k*PAYLOAD_BITS+:PAYLOAD_BITS] = {LANE_BITS'(k), activation};
    end
  endgenerate

  leading_nonzero #(
      .LANES(NUM_PES),
      .PAYLOAD_BITS(PAYLOAD_BITS)
  ) leading_nonzero (
      .valids  (left),
      .mores   ('0),
      .payloads(lanes),
      .valid   (found),
      .more    (more),
      .payload ({lane, value})
  );

  assign bubble = !finished && !found;
  assign blocked = !finished && found && a_queue_is_full;
  assign broadcast = !finished && found && !a_queue_is_full;
  assign broadcast_column = is_bias_row ? columns : first_column + COLUMN_BITS'(lane);
  assign broadcast_value = is_bias_row ? one : value;

  // The last row need not be left once its last value is broadcast.
  assign leaves_row = bubble || (broadcast && (lane == LAST_LANE || (is_last_row && !more)));
  assign next_row = start ? '0 : current_row + ONE_ROW;
  assign row_read = start || (leaves_row && !is_last_row);
  assign row_number = next_row[ROW_BITS-1:0];

  always_ff @(posedge clock) begin
    if (reset) begin
      finished <= 1'b1;
    end else if (row_read) begin
      finished <= 1'b0;
      current_row <= next_row;
      first_column <= start ? '0 : first_column + COLUMNS_A_ROW;
      taken <= '0;
    end else if (leaves_row) begin
      finished <= 1'b1;
    end else if (broadcast) begin
      taken <= taken | (FIRST_LANE << lane);
    end
  end
endmodule
