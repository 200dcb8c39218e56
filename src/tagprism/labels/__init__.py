"""Labels: phrases to vectors (encoders), vectors to the label space, and the vocabulary that a model ranks."""
