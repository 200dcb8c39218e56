"""Evaluation that can be trusted: metrics, protocols, leakage and the report. Knows nothing of training."""
