"""Soak: damaged files, killed jobs, full disks and clocks set back, in large numbers; `python -m tests.soak`."""
