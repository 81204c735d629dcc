// The array: the PEs, the scan that serves them all, and the central control.
//
//   activation_scan --broadcast--+-> activation_queue -> pointer_read -> sparse_matrix_read --+
//     (one for all)              |                           activation_write <- arithmetic <-+
//          ^                     +-> the same in every PE          |
//          +------------------- a lane from every PE --------------+
//
// A broadcast of several cycles passes broadcast_wires; in one of a single cycle, the scan sees the full queues.
//
// While no layer runs, the host loads the memories, one word at a time into the PEs that `load_pes` selects, and reads
// the source registers row by row. After a swap, these are the outputs of the last layer.
module array #(
    parameter int NUM_PES = 64,
    parameter int QUEUE_SLOTS = 8,
    parameter int LINE_BITS = 64,
    parameter int WEIGHT_BITS = 4,
    parameter int INDEX_BITS = 4,
    parameter int ACTIVATION_BITS = 16,    // of an activation, a shared weight and an accumulator
    parameter int LINES = 16384,           // of the sparse-matrix SRAM of a PE
    parameter int POINTERS_PER_BANK = 8192,
    parameter int POINTER_BITS = 16,
    parameter int ACTIVATIONS = 512,       // in each of the two register files of a PE
    parameter int PIPELINE_CYCLES = 5,     // from leaving the pointer read to being written
    parameter int BROADCAST_CYCLES = 1,    // from the scan to the queues
    // derived from these
    parameter int COLUMN_BITS = $clog2(2 * POINTERS_PER_BANK),
    parameter int ROW_BITS = ACTIVATIONS > 1 ? $clog2(ACTIVATIONS) : 1,
    parameter int POSITION_BITS = $clog2(QUEUE_SLOTS),
    parameter int LINE_ADDRESS_BITS = LINES > 1 ? $clog2(LINES) : 1,
    parameter int ADDRESS_BITS_A = WEIGHT_BITS > COLUMN_BITS - 1 ? WEIGHT_BITS : COLUMN_BITS - 1,
    parameter int ADDRESS_BITS_B = LINE_ADDRESS_BITS > ROW_BITS ? LINE_ADDRESS_BITS : ROW_BITS,
    parameter int LOAD_ADDRESS_BITS = ADDRESS_BITS_A > ADDRESS_BITS_B ? ADDRESS_BITS_A : ADDRESS_BITS_B,
    parameter int WORD_BITS = ACTIVATION_BITS > POINTER_BITS ? ACTIVATION_BITS : POINTER_BITS,
    parameter int LOAD_BITS = LINE_BITS > WORD_BITS ? LINE_BITS : WORD_BITS
) (
    input  logic                               clock,
    input  logic                               reset,
    // the host's commands, while no layer runs
    input  logic                               start,
    input  logic                               swap,
    // the layer
    input  logic [            COLUMN_BITS-1:0] columns,
    input  logic [                 ROW_BITS:0] input_rows,
    input  logic                               has_bias,
    input  logic [        ACTIVATION_BITS-1:0] one,
    input  logic [        ACTIVATION_BITS-1:0] limit,
    input  logic [                        5:0] shift,
    output logic                               running,
    output logic [                       31:0] cycles,
    // loads of the memories
    input  logic [                NUM_PES-1:0] load_pes,
    input  logic [                        5:0] load_memory,        // one bit for each, see below
    input  logic [      LOAD_ADDRESS_BITS-1:0] load_address,
    input  logic [              LOAD_BITS-1:0] load_word,
    input  logic                               host_row_read,
    input  logic [               ROW_BITS-1:0] host_row_number,
    output logic [NUM_PES*ACTIVATION_BITS-1:0] row,
    // for counters
    output logic                               broadcast,
    output logic [            COLUMN_BITS-1:0] broadcast_column,
    output logic                               bubble,
    output logic                               blocked,
    output logic [  NUM_PES*POSITION_BITS-1:0] queue_columns,
    output logic [                NUM_PES-1:0] is_busy,
    output logic [                NUM_PES-1:0] pop,
    output logic [                NUM_PES-1:0] send,
    output logic [                NUM_PES-1:0] line_read,
    output logic [                NUM_PES-1:0] entry,
    output logic [                NUM_PES-1:0] padding,
    output logic [                NUM_PES-1:0] overflow,
    output logic [                NUM_PES-1:0] written
);
  logic source_file;
  logic scan_is_finished;
  logic a_queue_is_full;
  logic sent;  // a column, by the scan
  logic [COLUMN_BITS-1:0] sent_column;
  logic [ACTIVATION_BITS-1:0] sent_value;
  logic wires_are_idle;
  logic [ACTIVATION_BITS-1:0] broadcast_value;
  logic [NUM_PES-1:0] queue_is_full;
  logic [NUM_PES-1:0] pe_is_drained;
  logic scan_row_read;
  logic [ROW_BITS-1:0] scan_row_number;
  logic row_read;
  logic [ROW_BITS-1:0] row_number;

  assign row_read = scan_row_read || host_row_read;
  assign row_number = host_row_read ? host_row_number : scan_row_number;

  generate
    if (BROADCAST_CYCLES == 1) begin : direct
      assign a_queue_is_full = (|queue_is_full);
      assign broadcast = sent;
      assign broadcast_column = sent_column;
      assign broadcast_value = sent_value;
      assign wires_are_idle = 1'b1;
    end else begin : pipelined
      broadcast_wires #(
          .BROADCAST_CYCLES(BROADCAST_CYCLES),
          .NUM_PES(NUM_PES),
          .QUEUE_SLOTS(QUEUE_SLOTS),
          .COLUMN_BITS(COLUMN_BITS),
          .ACTIVATION_BITS(ACTIVATION_BITS),
          .POSITION_BITS(POSITION_BITS)
      ) broadcast_wires (
          .clock           (clock),
          .reset           (reset),
          .sent            (sent),
          .sent_column     (sent_column),
          .sent_value      (sent_value),
          .lack_credit     (a_queue_is_full),
          .broadcast       (broadcast),
          .broadcast_column(broadcast_column),
          .broadcast_value (broadcast_value),
          .pop             (pop),
          .are_idle        (wires_are_idle)
      );
      logic unused;  // a column finds a free slot without a look at the queues
      assign unused = &{1'b0, queue_is_full};
    end
  endgenerate

  central_control #(
      .EDGE_BITS(32),
      .PIPELINE_CYCLES(PIPELINE_CYCLES)
  ) central_control (
      .clock           (clock),
      .reset           (reset),
      .start           (start),
      .swap            (swap),
      .scan_is_finished(scan_is_finished),
      .is_drained      (scan_is_finished && wires_are_idle && (&pe_is_drained)),
      .an_entry_leaves (|send),
      .running         (running),
      .source_file     (source_file),
      .cycles          (cycles)
  );

  activation_scan #(
      .NUM_PES(NUM_PES),
      .COLUMN_BITS(COLUMN_BITS),
      .ROW_BITS(ROW_BITS),
      .ACTIVATION_BITS(ACTIVATION_BITS)
  ) activation_scan (
      .clock           (clock),
      .reset           (reset),
      .start           (start),
      .columns         (columns),
      .input_rows      (input_rows),
      .has_bias        (has_bias),
      .one             (one),
      .limit           (limit),
      .row_read        (scan_row_read),
      .row_number      (scan_row_number),
      .row             (row),
      .a_queue_is_full (a_queue_is_full),
      .broadcast       (sent),
      .broadcast_column(sent_column),
      .broadcast_value (sent_value),
      .finished        (scan_is_finished),
      .bubble          (bubble),
      .blocked         (blocked)
  );

  generate
    for (genvar k = 0; k < NUM_PES; k++) begin : pes
      processing_element #(
          .QUEUE_SLOTS(QUEUE_SLOTS),
          .LINE_BITS(LINE_BITS),
          .WEIGHT_BITS(WEIGHT_BITS),
          .INDEX_BITS(INDEX_BITS),
          .ACTIVATION_BITS(ACTIVATION_BITS),
          .LINES(LINES),
          .POINTERS_PER_BANK(POINTERS_PER_BANK),
          .POINTER_BITS(POINTER_BITS),
          .ACTIVATIONS(ACTIVATIONS),
          .PIPELINE_CYCLES(PIPELINE_CYCLES),
          .COLUMN_BITS(COLUMN_BITS),
          .ROW_BITS(ROW_BITS),
          .POSITION_BITS(POSITION_BITS),
          .LINE_ADDRESS_BITS(LINE_ADDRESS_BITS),
          .LOAD_ADDRESS_BITS(LOAD_ADDRESS_BITS),
          .LOAD_BITS(LOAD_BITS)
      ) processing_element (
          .clock           (clock),
          .reset           (reset),
          .start           (start),
          .source_file     (source_file),
          .shift           (shift),
          .row_read        (row_read),
          .row_number      (row_number),
          .lane            (row[k*ACTIVATION_BITS+:ACTIVATION_BITS]),
          .broadcast       (broadcast),
          .broadcast_column(broadcast_column),
          .broadcast_value (broadcast_value),
          .queue_is_full   (queue_is_full[k]),
          .is_drained      (pe_is_drained[k]),
          .queue_columns   (queue_columns[k*POSITION_BITS+:POSITION_BITS]),
          .is_busy         (is_busy[k]),
          .pop             (pop[k]),
          .send            (send[k]),
          .line_read       (line_read[k]),
          .entry           (entry[k]),
          .padding         (padding[k]),
          .overflow        (overflow[k]),
          .written         (written[k]),
          .load_codebook   (load_pes[k] && load_memory[0]),
          .load_even       (load_pes[k] && load_memory[1]),
          .load_odd        (load_pes[k] && load_memory[2]),
          .load_lines      (load_pes[k] && load_memory[3]),
          .load_source     (load_pes[k] && load_memory[4]),
          .load_destination(load_pes[k] && load_memory[5]),
          .load_address    (load_address),
          .load_word       (load_word)
      );
    end
  endgenerate
endmodule
