"""Distil a classifier into one of fewer layers: its layers, its loss, its teacher's logits, and the verdict on it."""
