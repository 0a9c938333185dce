"""lossmith: from the formula of a loss to stable forms, their derivation, and kernels."""

__version__ = "0.1.0"
