"""Label encoders: phrases to raw vectors, one file for each kind. Knows no label space; needs no torch."""
