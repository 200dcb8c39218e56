"""Public ONNX exports of CLIP and SigLIP, each in the layout in which others publish it. Needs no torch."""
