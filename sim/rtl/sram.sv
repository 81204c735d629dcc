// A memory with one write port and one registered read port, as memory compilers and FPGAs have it.
//
// A read in the cycle of a write to the same address gives the old word. The word read stays until the next read.
module sram #(
    parameter int WORDS = 1024,
    parameter int WORD_BITS = 16,
    parameter int ADDRESS_BITS = 10
) (
    input  logic                    clock,
    input  logic                    write,
    input  logic [ADDRESS_BITS-1:0] write_address,
    input  logic [   WORD_BITS-1:0] write_word,
    input  logic                    read,
    input  logic [ADDRESS_BITS-1:0] read_address,
    output logic [   WORD_BITS-1:0] word
);
  logic [WORD_BITS-1:0] words[WORDS];

  always_ff @(posedge clock) begin
    if (write) words[write_address] <= write_word;
    if (read) word <= words[read_address];
  end
endmodule
