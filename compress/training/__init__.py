"""Compression with training: masked and shared weights, fine-tuning, distillation."""
