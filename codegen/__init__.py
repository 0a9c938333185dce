"""From a stable form to source text: kernels, lowering, one target per language, headers, writing."""
