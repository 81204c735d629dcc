"""Readers and writers of files of layers, networks, images and matrices."""
