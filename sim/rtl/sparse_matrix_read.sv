// Sparse-matrix read: takes one entry per cycle out of a line that is fetched only when it changes.
//
// The output register of the SRAM keeps the last line read. Entry i lies in line
// i / ENTRIES_PER_LINE at place i mod ENTRIES_PER_LINE, the first place in the lowest bits, the code below the gap.
//
// In a pipeline of more than five cycles, the entry passes further registers on its way to the arithmetic.
module sparse_matrix_read #(
    parameter int LINES = 16384,
    parameter int LINE_BITS = 64,
    parameter int WEIGHT_BITS = 4,
    parameter int INDEX_BITS = 4,
    parameter int POINTER_BITS = 16,
    parameter int ACTIVATION_BITS = 16,
    parameter int PIPELINE_CYCLES = 5,
    parameter int LINE_ADDRESS_BITS = 14
) (
    input  logic                         clock,
    input  logic                         reset,
    input  logic                         start,               // of a layer: no line of it has been read
    // from the pointer read
    input  logic                         send,
    input  logic [     POINTER_BITS-1:0] address,
    input  logic                         starts_column,
    input  logic [  ACTIVATION_BITS-1:0] activation,
    // to the arithmetic
    output logic                         entry,
    output logic [      WEIGHT_BITS-1:0] entry_code,
    output logic [       INDEX_BITS-1:0] entry_gap,
    output logic                         entry_starts_column,
    output logic [  ACTIVATION_BITS-1:0] entry_activation,
    // for counters
    output logic                         line_read,
    // from the host
    input  logic                         load,
    input  logic [LINE_ADDRESS_BITS-1:0] load_address,
    input  logic [        LINE_BITS-1:0] load_line
);
  localparam int ENTRY_BITS = WEIGHT_BITS + INDEX_BITS;
  localparam int ENTRIES_PER_LINE = LINE_BITS / ENTRY_BITS;
  localparam int PLACE_BITS = ENTRIES_PER_LINE > 1 ? $clog2(ENTRIES_PER_LINE) : 1;
  localparam int ENOUGH_BITS = POINTER_BITS > PLACE_BITS ? POINTER_BITS : PLACE_BITS + 1;
  localparam int QUOTIENT_BITS = ENOUGH_BITS > LINE_ADDRESS_BITS ? ENOUGH_BITS : LINE_ADDRESS_BITS;
  localparam logic [QUOTIENT_BITS-1:0] DIVISOR = QUOTIENT_BITS'(ENTRIES_PER_LINE);
  localparam int FURTHER_CYCLES = PIPELINE_CYCLES - 5;  // than look up, decode, multiply, add and write
  localparam int FOUND_BITS = 2 + ENTRY_BITS + ACTIVATION_BITS;

  // the request that is being looked up
  logic request;
  logic [POINTER_BITS-1:0] request_address;
  logic request_starts_column;
  logic [ACTIVATION_BITS-1:0] request_activation;
  // the line held
  logic holds_line;
  logic [LINE_ADDRESS_BITS-1:0] held_line;
  logic [LINE_BITS-1:0] line;
  logic [PLACE_BITS-1:0] place;  // of the entry in it

  // the entry that was looked up
  logic found;
  logic found_starts_column;
  logic [ACTIVATION_BITS-1:0] found_activation;
  logic [FOUND_BITS-1:0] found_entry;

  logic [LINE_ADDRESS_BITS-1:0] request_line;
  logic [PLACE_BITS-1:0] request_place;

  assign request_line = LINE_ADDRESS_BITS'(QUOTIENT_BITS'(request_address) / DIVISOR);
  assign request_place = PLACE_BITS'(QUOTIENT_BITS'(request_address) % DIVISOR);
  assign line_read = request && !(holds_line && request_line == held_line);

  sram #(
      .WORDS(LINES),
      .WORD_BITS(LINE_BITS),
      .ADDRESS_BITS(LINE_ADDRESS_BITS)
  ) lines (
      .clock        (clock),
      .write        (load),
      .write_address(load_address),
      .write_word   (load_line),
      .read         (line_read),
      .read_address (request_line),
      .word         (line)
  );

  assign found_entry = {found, found_starts_column, found_activation, line[place*ENTRY_BITS+:ENTRY_BITS]};

  generate
    if (FURTHER_CYCLES == 0) begin : shortest
      assign {entry, entry_starts_column, entry_activation, entry_gap, entry_code} = found_entry;
    end else begin : deeper
      delay #(
          .CYCLES(FURTHER_CYCLES),
          .BITS(FOUND_BITS)
      ) entries (
          .clock   (clock),
          .reset   (reset),
          .arriving(found_entry),
          .leaving ({entry, entry_starts_column, entry_activation, entry_gap, entry_code})
      );
    end
  endgenerate

  always_ff @(posedge clock) begin
    if (reset) begin
      request <= 1'b0;
      found   <= 1'b0;
    end else begin
      request <= send;
      found   <= request;
    end
    if (reset || start) holds_line <= 1'b0;
    else if (line_read) holds_line <= 1'b1;
    request_address <= address;
    request_starts_column <= starts_column;
    request_activation <= activation;
    if (line_read) held_line <= request_line;
    place <= request_place;
    found_starts_column <= request_starts_column;
    found_activation <= request_activation;
  end
endmodule
