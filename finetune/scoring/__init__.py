"""In go logits and labels, out come metrics, intervals, thresholds and curves."""
