"""PyTorch functions and modules, written by lossmith: `lossmith list` says what there is.

Each module stands alone: it imports torch and nothing else.
"""
