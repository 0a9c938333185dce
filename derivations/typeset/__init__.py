"""Derivations set for reading: text, LaTeX, Markdown and plain data, from one walk over the terms."""
