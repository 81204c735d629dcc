"""Readers and writers of the files that layers, networks, images and matrices come in."""
