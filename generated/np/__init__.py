"""NumPy kernels, written by lossmith: `lossmith list` says what there is.

Each module stands alone: it imports NumPy and nothing else.
"""
