// Activation write: two register files, each with one activation for each row of the PE.
//
// One is the source, which the scan reads row by row. The other one is the destination and holds the accumulators. They
// swap from layer to layer. A value written in a cycle can be read in that cycle.
module activation_write #(
    parameter int ACTIVATIONS = 512,
    parameter int ACTIVATION_BITS = 16,
    parameter int ROW_BITS = 9
) (
    input  logic                       clock,
    input  logic                       reset,
    input  logic                       source_file,       // which one of the two
    // to the scan
    input  logic                       row_read,
    input  logic [       ROW_BITS-1:0] row_number,
    output logic [ACTIVATION_BITS-1:0] lane,
    // to the arithmetic
    input  logic                       accumulator_read,
    input  logic [       ROW_BITS-1:0] accumulator_row,
    output logic [ACTIVATION_BITS-1:0] accumulator,
    // from the arithmetic: the sum that arrives at the end of the cycle, and the one that is written in it
    input  logic                       sum,
    input  logic [       ROW_BITS-1:0] sum_row,
    input  logic [ACTIVATION_BITS-1:0] sum_value,
    output logic                       written,
    output logic [       ROW_BITS-1:0] written_row,
    output logic [ACTIVATION_BITS-1:0] written_value,
    // from the host
    input  logic                       load_source,
    input  logic                       load_destination,
    input  logic [       ROW_BITS-1:0] load_address,
    input  logic [ACTIVATION_BITS-1:0] load_word
);
  logic [2*ACTIVATION_BITS-1:0] words;  // read from each file
  logic [ACTIVATION_BITS-1:0] read_accumulator;
  logic was_written;  // the word read was written in the cycle of the read
  logic [ACTIVATION_BITS-1:0] value_written;

  generate
    for (genvar i = 0; i < 2; i++) begin : files
      logic is_source;
      logic load;
      assign is_source = source_file == 1'(i);
      assign load = is_source ? load_source : load_destination;
      sram #(
          .WORDS(ACTIVATIONS),
          .WORD_BITS(ACTIVATION_BITS),
          .ADDRESS_BITS(ROW_BITS)
      ) registers (
          .clock        (clock),
          .write        (load || (!is_source && written)),
          .write_address(load ? load_address : written_row),
          .write_word   (load ? load_word : written_value),
          .read         (is_source ? row_read : accumulator_read),
          .read_address (is_source ? row_number : accumulator_row),
          .word         (words[i*ACTIVATION_BITS+:ACTIVATION_BITS])
      );
    end
  endgenerate

  assign {read_accumulator, lane} =
      source_file ? {words[0+:ACTIVATION_BITS], words[ACTIVATION_BITS+:ACTIVATION_BITS]} : words;
  assign accumulator = was_written ? value_written : read_accumulator;

  always_ff @(posedge clock) begin
    if (reset) written <= 1'b0;
    else written <= sum;
    written_row <= sum_row;
    written_value <= sum_value;
    was_written <= written && written_row == accumulator_row;
    value_written <= written_value;
  end
endmodule
