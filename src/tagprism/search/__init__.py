"""Find pictures by tag: an index of picture records, and queries over it. Knows no networks and no web."""
