"""Find, by measurement, the fastest form of a model that still says what PyTorch says."""
