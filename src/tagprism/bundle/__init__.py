"""A model in use: its files, its network, the picture record and the score of a label. Needs no torch."""
