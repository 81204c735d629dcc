"""Figures and tables from result files. Nothing here simulates."""
