"""From samples to ONNX artifacts: datasets, networks, the training loop, export."""
