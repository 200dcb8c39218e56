"""Data sets: each becomes the same table of pictures and labels; splits of labels and pictures; leakage rules."""
