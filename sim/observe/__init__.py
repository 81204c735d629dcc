"""Views of one run: cycle classes, state over time, waveforms, the screen."""
