"""ONNX Runtime, as Python programs use it.

    onnx_peer.py outputs MODEL...    runs each model on rows of its input and prints row and output, a line of JSON each
    onnx_peer.py time CALLS MODEL    times single calls with one row and prints their median, as a line of JSON
"""

import json
import sys
import time

import numpy as np
import onnxruntime

# Rows of each model: enough for every leaf of a small forest to be reached.
ROWS = 50


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def columns(tensor):
    return int(np.prod([axis for axis in tensor.shape[1:]]))


def outputs(model):
    running = session(model)
    (tensor,) = running.get_inputs()
    random = np.random.default_rng(42)
    for scale in (1.0, 30.0, 100.0, 1000.0):
        for row in (random.uniform(-1, 1, (ROWS, columns(tensor))) * scale).astype(np.float32):
            shape = [1] + list(tensor.shape[1:])
            result = running.run(None, {tensor.name: row.reshape(shape)})[0]
            yield {"model": model, "row": [float(value) for value in row], "output": float(result.reshape(-1)[0])}


def median_us(model, calls):
    running = session(model)
    (tensor,) = running.get_inputs()
    row = np.full([1] + list(tensor.shape[1:]), 0.5, np.float32)
    times = []
    for _ in range(calls):
        start = time.perf_counter_ns()
        running.run(None, {tensor.name: row})
        times.append(time.perf_counter_ns() - start)
    return sorted(times)[calls // 2] / 1000


if sys.argv[1] == "time":
    print(json.dumps({"median_us": median_us(sys.argv[3], int(sys.argv[2]))}))
else:
    for model in sys.argv[2:]:
        for line in outputs(model):
            print(json.dumps(line))
