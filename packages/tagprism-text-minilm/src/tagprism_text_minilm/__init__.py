"""The int8 text encoder minilm for tagprism, as data: the folder `minilm`."""
