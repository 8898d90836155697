"""The fp32 graph: in goes the checkpoint, out come a plain and an optimised ONNX graph."""
