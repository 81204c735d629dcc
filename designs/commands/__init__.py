"""The commands of `python -m designs`, with their arguments."""
