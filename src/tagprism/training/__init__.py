"""Training: recipe, features, loss, loop, run. Needs the extra `train`."""
