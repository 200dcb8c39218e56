"""Pictures in: folder walk, decode to upright sRGB, preprocess to pixels, batches decoded ahead."""
