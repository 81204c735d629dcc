"""Deep Compression: pruning, shared weights, Huffman coding, and a file that can be trusted.

PyTorch is needed to train and compress a network (`compress.training.compressor`), not to read a container.
"""

from compress.container.model import CompressedModel, ContainerReader

__all__ = ["CompressedModel", "ContainerReader"]
