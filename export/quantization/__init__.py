"""Quantise an fp32 graph to int8 by a scheme, with scales calibrated on texts."""
