"""Find pictures by tag: an index of ranking matrices, and queries over it. Knows no networks and no web."""
