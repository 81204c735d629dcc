// Registers in a row: what arrives in a cycle leaves CYCLES cycles later. A reset clears them.
module delay #(
    parameter int CYCLES = 1,
    parameter int BITS = 1
) (
    input  logic            clock,
    input  logic            reset,
    input  logic [BITS-1:0] arriving,
    output logic [BITS-1:0] leaving
);
  logic [CYCLES*BITS-1:0] registers;  // the oldest ones are highest

  assign leaving = registers[CYCLES*BITS-1-:BITS];

  always_ff @(posedge clock) begin
    if (reset) registers <= '0;
    else registers <= (CYCLES * BITS)'({registers, arriving});
  end
endmodule
