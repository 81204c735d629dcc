// Tree of leading non-zero detection units over any number of lanes: one level, and a tree over its units.
module leading_nonzero #(
    parameter int LANES = 64,
    parameter int PAYLOAD_BITS = 16
) (
    input  logic [             LANES-1:0] valids,
    input  logic [             LANES-1:0] mores,
    input  logic [LANES*PAYLOAD_BITS-1:0] payloads,
    output logic                          valid,
    output logic                          more,
    output logic [      PAYLOAD_BITS-1:0] payload
);
  generate
    if (LANES == 1) begin : root
      assign valid   = valids[0];
      assign more    = mores[0];
      assign payload = payloads;
    end else begin : level
      localparam int UNITS = (LANES + 3) / 4;
      localparam int SPARE = 4 * UNITS - LANES;
      logic [             4*UNITS-1:0] all_valids;
      logic [             4*UNITS-1:0] all_mores;
      logic [4*UNITS*PAYLOAD_BITS-1:0] all_payloads;
      logic [               UNITS-1:0] unit_valids;
      logic [               UNITS-1:0] unit_mores;
      logic [  UNITS*PAYLOAD_BITS-1:0] unit_payloads;

      if (SPARE == 0) begin : whole
        assign all_valids   = valids;
        assign all_mores    = mores;
        assign all_payloads = payloads;
      end else begin : filled_up
        assign all_valids   = {{SPARE{1'b0}}, valids};
        assign all_mores    = {{SPARE{1'b0}}, mores};
        assign all_payloads = {{(SPARE * PAYLOAD_BITS) {1'b0}}, payloads};
      end

      for (genvar i = 0; i < UNITS; i++) begin : units
        lnzd_unit #(
            .PAYLOAD_BITS(PAYLOAD_BITS)
        ) lnzd_unit (
            .valids  (all_valids[4*i+:4]),
            .mores   (all_mores[4*i+:4]),
            .payloads(all_payloads[4*i*PAYLOAD_BITS+:4*PAYLOAD_BITS]),
            .valid   (unit_valids[i]),
            .more    (unit_mores[i]),
            .payload (unit_payloads[i*PAYLOAD_BITS+:PAYLOAD_BITS])
        );
      end

      leading_nonzero #(
          .LANES(UNITS),
          .PAYLOAD_BITS(PAYLOAD_BITS)
      ) above (
          .valids  (unit_valids),
          .mores   (unit_mores),
          .payloads(unit_payloads),
          .valid   (valid),
          .more    (more),
          .payload (payload)
      );
    end
  endgenerate
endmodule
