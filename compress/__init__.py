"""Deep Compression: pruning, shared weights, Huffman coding, and a file that can be trusted.

PyTorch is needed to train and compress a network (`compress.deep_compression`), not to read a container.
"""

from compress.container import CompressedModel, ContainerReader

__all__ = ["CompressedModel", "ContainerReader"]
