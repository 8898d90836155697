"""In goes a checkpoint, out come fp32 ONNX graphs: a plain one, one with fused operators, and fp16 for a GPU."""
