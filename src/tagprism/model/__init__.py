"""Pixels to ranking matrices: backbone, embedding matrix, similarity, bundle. Knows neither words nor image files."""
