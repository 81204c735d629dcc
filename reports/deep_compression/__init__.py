"""Deep Compression's tables and figures, ours beside the paper's."""
