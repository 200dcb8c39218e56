"""tagprism: tag and find pictures with your own words, also words no model was trained on."""

__version__ = "0.1.0"
