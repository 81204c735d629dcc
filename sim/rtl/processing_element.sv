// One PE: its queue, its SRAMs, its arithmetic and its registers.
module processing_element #(
    parameter int QUEUE_SLOTS = 8,
    parameter int LINE_BITS = 64,
    parameter int WEIGHT_BITS = 4,
    parameter int INDEX_BITS = 4,
    parameter int ACTIVATION_BITS = 16,
    parameter int LINES = 16384,
    parameter int POINTERS_PER_BANK = 8192,
    parameter int POINTER_BITS = 16,
    parameter int ACTIVATIONS = 512,
    parameter int PIPELINE_CYCLES = 5,
    parameter int COLUMN_BITS = 14,
    parameter int ROW_BITS = 9,
    parameter int POSITION_BITS = 3,
    parameter int LINE_ADDRESS_BITS = 14,
    parameter int LOAD_ADDRESS_BITS = 14,
    parameter int LOAD_BITS = 64
) (
    input  logic                         clock,
    input  logic                         reset,
    input  logic                         start,
    input  logic                         source_file,
    input  logic [                  5:0] shift,
    // to the scan
    input  logic                         row_read,
    input  logic [         ROW_BITS-1:0] row_number,
    output logic [  ACTIVATION_BITS-1:0] lane,
    // from the scan
    input  logic                         broadcast,
    input  logic [      COLUMN_BITS-1:0] broadcast_column,
    input  logic [  ACTIVATION_BITS-1:0] broadcast_value,
    output logic                         queue_is_full,
    output logic                         is_drained,
    // for counters
    output logic [    POSITION_BITS-1:0] queue_columns,
    output logic                         is_busy,
    output logic                         pop,
    output logic                         send,
    output logic                         line_read,
    output logic                         entry,
    output logic                         padding,
    output logic                         overflow,
    output logic                         written,
    // from the host: a word of one of the memories
    input  logic                         load_codebook,
    input  logic                         load_even,
    input  logic                         load_odd,
    input  logic                         load_lines,
    input  logic                         load_source,
    input  logic                         load_destination,
    input  logic [LOAD_ADDRESS_BITS-1:0] load_address,
    input  logic [        LOAD_BITS-1:0] load_word
);
  logic queue_is_empty;
  logic [COLUMN_BITS-1:0] column;
  logic [ACTIVATION_BITS-1:0] value;
  logic [POINTER_BITS-1:0] address;
  logic starts_column;
  logic [ACTIVATION_BITS-1:0] activation;
  logic [WEIGHT_BITS-1:0] entry_code;
  logic [INDEX_BITS-1:0] entry_gap;
  logic entry_starts_column;
  logic [ACTIVATION_BITS-1:0] entry_activation;
  logic accumulator_read;
  logic [ROW_BITS-1:0] accumulator_row;
  logic [ACTIVATION_BITS-1:0] accumulator;
  logic sum;
  logic [ROW_BITS-1:0] sum_row;
  logic [ACTIVATION_BITS-1:0] sum_value;
  logic [ROW_BITS-1:0] written_row;
  logic [ACTIVATION_BITS-1:0] written_value;

  assign is_drained = queue_is_empty && !is_busy;

  activation_queue #(
      .QUEUE_SLOTS(QUEUE_SLOTS),
      .COLUMN_BITS(COLUMN_BITS),
      .ACTIVATION_BITS(ACTIVATION_BITS),
      .POSITION_BITS(POSITION_BITS)
  ) activation_queue (
      .clock        (clock),
      .reset        (reset),
      .push         (broadcast),
      .column       (broadcast_column),
      .value        (broadcast_value),
      .pop          (pop),
      .oldest_column(column),
      .oldest_value (value),
      .is_empty     (queue_is_empty),
      .is_full      (queue_is_full),
      .num_columns  (queue_columns)
  );

  pointer_read #(
      .COLUMN_BITS(COLUMN_BITS),
      .ACTIVATION_BITS(ACTIVATION_BITS),
      .POINTERS_PER_BANK(POINTERS_PER_BANK),
      .POINTER_BITS(POINTER_BITS)
  ) pointer_read (
      .clock         (clock),
      .reset         (reset),
      .queue_is_empty(queue_is_empty),
      .column        (column),
      .value         (value),
      .pop           (pop),
      .send          (send),
      .address       (address),
      .starts_column (starts_column),
      .activation    (activation),
      .is_busy       (is_busy),
      .load_even     (load_even),
      .load_odd      (load_odd),
      .load_address  ((COLUMN_BITS - 1)'(load_address)),
      .load_word     (load_word[POINTER_BITS-1:0])
  );

  sparse_matrix_read #(
      .LINES(LINES),
      .LINE_BITS(LINE_BITS),
      .WEIGHT_BITS(WEIGHT_BITS),
      .INDEX_BITS(INDEX_BITS),
      .POINTER_BITS(POINTER_BITS),
      .ACTIVATION_BITS(ACTIVATION_BITS),
      .PIPELINE_CYCLES(PIPELINE_CYCLES),
      .LINE_ADDRESS_BITS(LINE_ADDRESS_BITS)
  ) sparse_matrix_read (
      .clock              (clock),
      .reset              (reset),
      .start              (start),
      .send               (send),
      .address            (address),
      .starts_column      (starts_column),
      .activation         (activation),
      .entry              (entry),
      .entry_code         (entry_code),
      .entry_gap          (entry_gap),
      .entry_starts_column(entry_starts_column),
      .entry_activation   (entry_activation),
      .line_read          (line_read),
      .load               (load_lines),
      .load_address       (LINE_ADDRESS_BITS'(load_address)),
      .load_line          (load_word[LINE_BITS-1:0])
  );

  arithmetic #(
      .WEIGHT_BITS(WEIGHT_BITS),
      .INDEX_BITS(INDEX_BITS),
      .ACTIVATION_BITS(ACTIVATION_BITS),
      .ROW_BITS(ROW_BITS)
  ) arithmetic (
      .clock              (clock),
      .reset              (reset),
      .shift              (shift),
      .entry              (entry),
      .entry_code         (entry_code),
      .entry_gap          (entry_gap),
      .entry_starts_column(entry_starts_column),
      .entry_activation   (entry_activation),
      .accumulator_read   (accumulator_read),
      .accumulator_row    (accumulator_row),
      .accumulator        (accumulator),
      .written            (written),
      .written_row        (written_row),
      .written_value      (written_value),
      .sum                (sum),
      .sum_row            (sum_row),
      .sum_value          (sum_value),
      .padding            (padding),
      .overflow           (overflow),
      .load               (load_codebook),
      .load_address       (WEIGHT_BITS'(load_address)),
      .load_word          (load_word[ACTIVATION_BITS-1:0])
  );

  activation_write #(
      .ACTIVATIONS(ACTIVATIONS),
      .ACTIVATION_BITS(ACTIVATION_BITS),
      .ROW_BITS(ROW_BITS)
  ) activation_write (
      .clock           (clock),
      .reset           (reset),
      .source_file     (source_file),
      .row_read        (row_read),
      .row_number      (row_number),
      .lane            (lane),
      .accumulator_read(accumulator_read),
      .accumulator_row (accumulator_row),
      .accumulator     (accumulator),
      .sum             (sum),
      .sum_row         (sum_row),
      .sum_value       (sum_value),
      .written         (written),
      .written_row     (written_row),
      .written_value   (written_value),
      .load_source     (load_source),
      .load_destination(load_destination),
      .load_address    (ROW_BITS'(load_address)),
      .load_word       (load_word[ACTIVATION_BITS-1:0])
  );
endmodule
