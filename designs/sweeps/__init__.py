"""Sweeps: one workload on many designs, distributed and resumable."""
