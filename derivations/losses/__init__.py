"""The losses of the catalogue, one file each."""
