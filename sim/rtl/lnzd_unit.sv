// One unit of the leading non-zero detection: selects the first valid one of four inputs, with its payload.
module lnzd_unit #(
    parameter int PAYLOAD_BITS = 16
) (
    input  logic [               3:0] valids,
    input  logic [               3:0] mores,     // this input has further valid lanes
    input  logic [4*PAYLOAD_BITS-1:0] payloads,
    output logic                      valid,
    output logic                      more,      // there are valid lanes besides the selected one
    output logic [  PAYLOAD_BITS-1:0] payload
);
  always_comb begin
    valid = valids != 4'b0000;
    more  = mores != 4'b0000 || (valids & (valids - 4'b0001)) != 4'b0000;
    if (valids[0]) payload = payloads[0*PAYLOAD_BITS+:PAYLOAD_BITS];
    else if (valids[1]) payload = payloads[1*PAYLOAD_BITS+:PAYLOAD_BITS];
    else if (valids[2]) payload = payloads[2*PAYLOAD_BITS+:PAYLOAD_BITS];
    else payload = payloads[3*PAYLOAD_BITS+:PAYLOAD_BITS];
  end
endmodule
