"""A model in training: backbones, the head, class columns, export. Needs the extra `train`."""
