"""In go an ONNX file, PyTorch's logits and held-out texts, out come measurements and a verdict."""
