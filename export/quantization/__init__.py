"""In go an fp32 graph, calibration texts and a scheme, out comes an int8 graph."""
