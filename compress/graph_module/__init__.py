"""Execution of a flat ONNX graph in PyTorch, with derivatives (onnx and PyTorch needed).

`module` runs the nodes in order. `operator_table` finds the function of each operator. The other modules hold these
functions, one family each; their semantics are those of the operator specification of ONNX
(https://onnx.ai/onnx/operators/).
"""

from compress.graph_module.module import GraphModule

__all__ = ["GraphModule"]
