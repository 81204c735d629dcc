"""Command lines: errors as sentences, completion, progress."""
