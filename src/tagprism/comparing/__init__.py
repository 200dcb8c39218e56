"""Experiments: rivals, variants and seeds on the same pictures, published numbers beside them. Needs `[train]`."""
