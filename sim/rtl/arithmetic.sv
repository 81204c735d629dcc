// Arithmetic, three stages: decode and address; multiply while the accumulator is read; add.
//
// If two successive entries have the same accumulator, the second one reads it too early. The sum that is written in
// that cycle is bypassed to the adder, so that nothing stalls. Numbers are two's complement. A product is rounded to
// the nearest by `shift` bits, ties upwards, and a sum that leaves the range is saturated.
module arithmetic #(
    parameter int WEIGHT_BITS = 4,
    parameter int INDEX_BITS = 4,
    parameter int ACTIVATION_BITS = 16,
    parameter int ROW_BITS = 9
) (
    input  logic                       clock,
    input  logic                       reset,
    input  logic [                5:0] shift,
    // from the sparse-matrix read
    input  logic                       entry,
    input  logic [    WEIGHT_BITS-1:0] entry_code,
    input  logic [     INDEX_BITS-1:0] entry_gap,
    input  logic                       entry_starts_column,
    input  logic [ACTIVATION_BITS-1:0] entry_activation,
    // the accumulator: read in this cycle, available in the next one
    output logic                       accumulator_read,
    output logic [       ROW_BITS-1:0] accumulator_row,
    input  logic [ACTIVATION_BITS-1:0] accumulator,
    // the sum that is written in this cycle
    input  logic                       written,
    input  logic [       ROW_BITS-1:0] written_row,
    input  logic [ACTIVATION_BITS-1:0] written_value,
    // to the activation write
    output logic                       sum,
    output logic [       ROW_BITS-1:0] sum_row,
    output logic [ACTIVATION_BITS-1:0] sum_value,
    // for counters
    output logic                       padding,
    output logic                       overflow,
    // from the host
    input  logic                       load,
    input  logic [    WEIGHT_BITS-1:0] load_address,
    input  logic [ACTIVATION_BITS-1:0] load_word
);
  localparam int PRODUCT_BITS = 2 * ACTIVATION_BITS;
  localparam logic [ROW_BITS-1:0] ONE_ROW = ROW_BITS'(1);
  localparam logic [PRODUCT_BITS-1:0] ONE_HALF = PRODUCT_BITS'(1);
  localparam logic [5:0] ONE_BIT = 6'd1;
  localparam logic [ACTIVATION_BITS-1:0] LOWEST = {1'b1, {(ACTIVATION_BITS - 1) {1'b0}}};
  localparam logic [ACTIVATION_BITS-1:0] HIGHEST = {1'b0, {(ACTIVATION_BITS - 1) {1'b1}}};

  // decode
  logic [ROW_BITS-1:0] last_row;  // of the last entry of this column
  logic [ROW_BITS-1:0] row;
  // multiply
  logic operands;
  logic [ROW_BITS-1:0] operands_row;
  logic [ACTIVATION_BITS-1:0] weight;
  logic [ACTIVATION_BITS-1:0] activation;
  logic signed [PRODUCT_BITS-1:0] exact;
  logic signed [PRODUCT_BITS-1:0] halves;
  logic signed [PRODUCT_BITS-1:0] rounded;
  // add
  logic product;
  logic [ROW_BITS-1:0] product_row;
  logic [PRODUCT_BITS-1:0] product_value;
  logic is_bypassed;
  logic [ACTIVATION_BITS-1:0] augend;
  logic [PRODUCT_BITS-1:0] total;
  logic [ACTIVATION_BITS:0] excess;

  sram #(
      .WORDS(2 ** WEIGHT_BITS),
      .WORD_BITS(ACTIVATION_BITS),
      .ADDRESS_BITS(WEIGHT_BITS)
  ) codebook (
      .clock        (clock),
      .write        (load),
      .write_address(load_address),
      .write_word   (load_word),
      .read         (entry),
      .read_address (entry_code),
      .word         (weight)
  );

  // A gap is the number of rows skipped; the row before a column's first entry is -1.
  assign row = (entry_starts_column ? '1 : last_row) + ROW_BITS'(entry_gap) + ONE_ROW;
  assign padding = entry && entry_code == '0;  // takes its cycle and goes no further

  assign accumulator_read = operands;
  assign accumulator_row = operands_row;
  assign exact = $signed({{ACTIVATION_BITS{weight[ACTIVATION_BITS-1]}}, weight}) *
      $signed({{ACTIVATION_BITS{activation[ACTIVATION_BITS-1]}}, activation});
  assign halves = exact >>> (shift - ONE_BIT);
  assign rounded = shift == '0 ? exact : $signed(halves + ONE_HALF) >>> 1;

  assign is_bypassed = written && written_row == product_row;
  assign augend = is_bypassed ? written_value : accumulator;
  assign total = {{ACTIVATION_BITS{augend[ACTIVATION_BITS-1]}}, augend} + product_value;
  assign excess = total[PRODUCT_BITS-1:ACTIVATION_BITS-1];  // all alike if the sum is in range
  assign overflow = product && excess != '0 && excess != '1;
  assign sum = product;
  assign sum_row = product_row;
  assign sum_value = !overflow ? total[ACTIVATION_BITS-1:0] : total[PRODUCT_BITS-1] ? LOWEST : HIGHEST;

  always_ff @(posedge clock) begin
    if (reset) begin
      operands <= 1'b0;
      product  <= 1'b0;
    end else begin
      operands <= entry && !padding;
      product  <= operands;
    end
    if (entry) last_row <= row;
    operands_row <= row;
    activation <= entry_activation;
    product_row <= operands_row;
    product_value <= rounded;
  end
endmodule
