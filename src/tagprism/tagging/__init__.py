"""Using a model: tags for pictures."""
