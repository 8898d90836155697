"""Convert a checkpoint to ONNX graphs: plain fp32, with fused operators, and fp16 for a GPU."""
