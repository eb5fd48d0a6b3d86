"""The model server: the platform's ONNX models behind the KServe v2 protocol.

``python -m groundshift.serving --model-dir DIR`` is the process; `groundshift.serving.main.serve`
the same from Python. Only `groundshift.serving.server` imports kserve, and only once it serves.
"""
