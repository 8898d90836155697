"""The proof: in go an ONNX file, PyTorch and held-out text, out come figures and a verdict."""
