"""Networks as graphs of operations: intakes, products of weights with activations, and their execution."""
