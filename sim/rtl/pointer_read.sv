// Pointer read: holds one column for max(1, entries) cycles and sends out the address of one entry in each.
//
// The pointers of even and of odd columns lie in two banks. So the begin of a column and its end, the begin of the next
// column, are read in the same cycle, in which the column leaves the queue.
module pointer_read #(
    parameter int COLUMN_BITS = 14,
    parameter int ACTIVATION_BITS = 16,
    parameter int POINTERS_PER_BANK = 8192,
    parameter int POINTER_BITS = 16
) (
    input  logic                       clock,
    input  logic                       reset,
    // from the queue
    input  logic                       queue_is_empty,
    input  logic [    COLUMN_BITS-1:0] column,
    input  logic [ACTIVATION_BITS-1:0] value,
    output logic                       pop,
    // to the sparse-matrix read
    output logic                       send,
    output logic [   POINTER_BITS-1:0] address,
    output logic                       starts_column,
    output logic [ACTIVATION_BITS-1:0] activation,
    output logic                       is_busy,          // holds a column
    // from the host
    input  logic                       load_even,
    input  logic                       load_odd,
    input  logic [    COLUMN_BITS-2:0] load_address,
    input  logic [   POINTER_BITS-1:0] load_word
);
  localparam int BANK_BITS = COLUMN_BITS - 1;
  localparam logic [BANK_BITS-1:0] ODD_COLUMN = BANK_BITS'(1);
  localparam logic [POINTER_BITS-1:0] ONE_ENTRY = POINTER_BITS'(1);

  logic is_odd;  // the column held
  logic is_fresh;  // none of its entries has been sent
  logic [POINTER_BITS-1:0] next_address;  // of an entry; valid once the column is not fresh
  logic [POINTER_BITS-1:0] even_word;
  logic [POINTER_BITS-1:0] odd_word;
  logic [POINTER_BITS-1:0] begin_address;
  logic [POINTER_BITS-1:0] end_address;
  logic [POINTER_BITS-1:0] after_address;
  logic is_free;

  sram #(
      .WORDS(POINTERS_PER_BANK),
      .WORD_BITS(POINTER_BITS),
      .ADDRESS_BITS(BANK_BITS)
  ) even_bank (
      .clock        (clock),
      .write        (load_even),
      .write_address(load_address),
      .write_word   (load_word),
      .read         (pop),
      .read_address (column[0] ? column[COLUMN_BITS-1:1] + ODD_COLUMN : column[COLUMN_BITS-1:1]),
      .word         (even_word)
  );

  sram #(
      .WORDS(POINTERS_PER_BANK),
      .WORD_BITS(POINTER_BITS),
      .ADDRESS_BITS(BANK_BITS)
  ) odd_bank (
      .clock        (clock),
      .write        (load_odd),
      .write_address(load_address),
      .write_word   (load_word),
      .read         (pop),
      .read_address (column[COLUMN_BITS-1:1]),
      .word         (odd_word)
  );

  assign begin_address = is_odd ? odd_word : even_word;
  assign end_address = is_odd ? even_word : odd_word;
  assign address = is_fresh ? begin_address : next_address;
  assign after_address = address + ONE_ENTRY;
  assign send = is_busy && address != end_address;
  assign starts_column = is_fresh;
  assign is_free = !is_busy || address == end_address || after_address == end_address;
  assign pop = is_free && !queue_is_empty;

  always_ff @(posedge clock) begin
    if (reset) begin
      is_busy <= 1'b0;
    end else if (is_free) begin
      is_busy <= pop;
    end
    if (pop) begin
      is_odd <= column[0];
      activation <= value;
    end
    if (pop) is_fresh <= 1'b1;
    else if (send) is_fresh <= 1'b0;
    if (send) next_address <= after_address;
  end
endmodule
