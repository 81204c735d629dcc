// Activation queue of one PE: a ring of slots; equal positions mean empty, so one slot stays free.
module activation_queue #(
    parameter int QUEUE_SLOTS = 8,
    parameter int COLUMN_BITS = 14,
    parameter int ACTIVATION_BITS = 16,
    parameter int POSITION_BITS = 3
) (
    input  logic                       clock,
    input  logic                       reset,
    input  logic                       push,
    input  logic [    COLUMN_BITS-1:0] column,
    input  logic [ACTIVATION_BITS-1:0] value,
    input  logic                       pop,
    output logic [    COLUMN_BITS-1:0] oldest_column,
    output logic [ACTIVATION_BITS-1:0] oldest_value,
    output logic                       is_empty,
    output logic                       is_full,
    output logic [  POSITION_BITS-1:0] num_columns     // waiting
);
  localparam logic [POSITION_BITS-1:0] LAST = POSITION_BITS'(QUEUE_SLOTS - 1);
  localparam logic [POSITION_BITS-1:0] ONE_SLOT = POSITION_BITS'(1);

  logic [COLUMN_BITS+ACTIVATION_BITS-1:0] slots[QUEUE_SLOTS];
  logic [POSITION_BITS-1:0] write_position;
  logic [POSITION_BITS-1:0] read_position;
  logic [POSITION_BITS-1:0] after_write;
  logic [POSITION_BITS-1:0] after_read;

  assign after_write = write_position == LAST ? '0 : write_position + ONE_SLOT;
  assign after_read = read_position == LAST ? '0 : read_position + ONE_SLOT;
  assign is_empty = read_position == write_position;
  assign is_full = after_write == read_position;
  assign {oldest_column, oldest_value} = slots[read_position];
  // modulo the number of slots: LAST + 1 is added if the writer has wrapped around and the reader has not
  assign num_columns = write_position - read_position + (write_position < read_position ? LAST + ONE_SLOT : '0);

  always_ff @(posedge clock) begin
    if (push) slots[write_position] <= {column, value};
    if (reset) begin
      write_position <= '0;
      read_position  <= '0;
    end else begin
      if (push) write_position <= after_write;
      if (pop) read_position <= after_read;
    end
  end
endmodule
