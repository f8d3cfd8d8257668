"""Triton's clients with a timeout, of a server that does not answer: `triton_impatient.py HTTP GRPC`."""

import sys
import time

import tritonclient.grpc
import tritonclient.http
from reports import matrix, report

SECONDS = 0.5


def attempt(call, action):
    began = time.monotonic()
    try:
        action()
    except Exception as error:  # each client has its own
        report(call, {"type": type(error).__name__, "message": str(error), "seconds": time.monotonic() - began})
    else:
        report(call, None)


def inputs_of(library):
    given = library.InferInput("input", list(matrix("colours").shape), "FP32")
    given.set_data_from_numpy(matrix("colours"))
    return [given]


http, grpc = sys.argv[1:]
with tritonclient.http.InferenceServerClient(http, network_timeout=SECONDS) as client:
    attempt("http, the client's", lambda: client.infer("colours", inputs_of(tritonclient.http)))
with tritonclient.http.InferenceServerClient(http) as client:
    attempt(
        "http, the server's", lambda: client.infer("colours", inputs_of(tritonclient.http), timeout=int(1e6 * SECONDS))
    )
with tritonclient.grpc.InferenceServerClient(grpc) as client:
    attempt("grpc", lambda: client.infer("colours", inputs_of(tritonclient.grpc), client_timeout=SECONDS))
