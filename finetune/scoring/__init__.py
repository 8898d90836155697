"""Take logits and labels; return metrics, confidence intervals, tuned thresholds and plots."""
