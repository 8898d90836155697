"""Distil a classifier into one of fewer or narrower layers: its making, its loss, its teacher's logits, its verdict."""
