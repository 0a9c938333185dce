"""The targets: one printer and table for each language that kernels are written in."""
