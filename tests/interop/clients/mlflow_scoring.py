"""The client of MLflow's scoring server: `mlflow_scoring.py HOST PORT`."""

import json
import sys

import pandas as pd
from mlflow.pyfunc.scoring_server.client import ScoringServerClient
from reports import MODELS, matrix, report


def frame(model):
    return pd.DataFrame(MODELS[model]["rows"], columns=MODELS[model]["columns"])


def failure(call, action):
    try:
        action()
    except Exception as error:  # the client has no class for errors
        report(call, str(error))
    else:
        report(call, None)


client = ScoringServerClient(*sys.argv[1:])
client.wait_server_ready(timeout=30)
report("version", client.get_version())
client.ping()
visits = frame("visits")
report("frame", client.invoke(visits).get_predictions().to_dict("list"))
with_dates = visits.assign(since=pd.to_datetime(visits["since"]))
report("frame with timestamps", client.invoke(with_dates).get_predictions().to_dict("list"))
other_index = visits.set_index(pd.Index([f"row {i}" for i in range(len(visits))])).iloc[:, ::-1]
report("frame with an index", client.invoke(other_index).get_predictions().to_dict("list"))
records = [dict(zip(visits, row, strict=True)) for row in visits.itertuples(index=False)]
for form, data in {"records": {"dataframe_records": records}, "list": visits.values.tolist()}.items():
    report(form, client.invoke(data if isinstance(data, list) else json.dumps(data)).get_predictions().to_dict("list"))
failure("parameters", lambda: client.invoke(visits, params={"threshold": 0.5}))
report("no parameters", client.invoke(visits, params={}).get_predictions().to_dict("list"))
failure("frame of another model", lambda: client.invoke(frame("price")))
failure("matrix without a column", lambda: client.invoke(matrix("colours")[:, :3]))
