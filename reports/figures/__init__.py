"""Figures of sweeps and timelines, and the style that all figures share."""
