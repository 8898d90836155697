"""Compare an ONNX file with PyTorch on held-out texts, and judge the measurements by a gate."""
