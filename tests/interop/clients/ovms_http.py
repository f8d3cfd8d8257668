"""OpenVINO's HTTP client of TensorFlow Serving's API: `ovms_http.py ADDRESS`."""

import sys

import numpy as np
from ovmsclient import make_http_client
from ovmsclient.tfs_compat.base.errors import ModelServerError
from reports import columns, matrix, report


def failure(call, action):
    try:
        action()
    except ModelServerError as error:
        report(call, {"type": type(error).__name__, "message": str(error)})
    else:
        report(call, None)


client = make_http_client(sys.argv[1])
for model in ("colours", "price", "late"):
    report(f"matrix {model}", client.predict({"input": matrix(model)}, model))
    by_column = {name: array[:, 0] for name, array in columns(model).items()}
    report(f"columns {model}", client.predict(by_column, model))
visits = {name: array[:, 0] for name, array in columns("visits").items()}
texts = {name: array.astype(np.bytes_) if array.dtype == object else array for name, array in visits.items()}
report("columns visits", client.predict(texts, "visits"))
report("version", client.predict({"input": matrix("late")}, "late", model_version=1))
report("metadata", client.get_model_metadata("colours"))
report("metadata of texts", client.get_model_metadata("visits"))
report("status", client.get_model_status("colours"))
report("status of a version", client.get_model_status("late", model_version=1))
failure("unknown model", lambda: client.predict({"input": matrix("colours")}, "nobody"))
failure("unknown version", lambda: client.predict({"input": matrix("late")}, "late", model_version=7))
failure("text for a number", lambda: client.predict({**texts, "age": texts["city"]}, "visits"))
failure("wrong width", lambda: client.predict({"input": np.zeros((2, 3), np.float32)}, "colours"))
failure("status of nobody", lambda: client.get_model_status("nobody"))
