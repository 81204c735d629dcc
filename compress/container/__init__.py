"""The container file: model, entropy coding, reader, size report."""
