"""The Shapley values of `shap` for the answers of `POST /predict`, and those of the server: `shap_values.py URL`.

`shap` is asked about a model whose features are 0 (the background's cell) and 1 (the row's cell), so that it needs to
know nothing of categories, dates and gaps.
"""

import json
import sys
from urllib.request import Request, urlopen

import numpy as np
import shap
from reports import MODELS, report


def post(path, document):
    body = json.dumps(document).encode()
    request = Request(f"{sys.argv[1]}{path}", body, {"Content-Type": "application/json"})
    with urlopen(request, timeout=60) as answer:
        return json.load(answer)


def by_shap(model, row, other, explained):
    """Returns the value of each column, for one background row, by an exact and a permutation explainer."""

    def outputs(choices):
        rows = [[mine if one else his for one, mine, his in zip(line, row, other)] for line in choices]  # noqa: B905
        answer = post("/predict", {"model": model, "instances": rows})
        if explained is None:
            return np.array(answer["predictions"])
        return np.array(answer["probabilities"])[:, explained]

    background, chosen = np.zeros((1, len(row))), np.ones((1, len(row)))
    return shap.explainers.ExactExplainer(outputs, shap.maskers.Independent(background))(chosen).values[0].tolist()


for model, given in MODELS.items():
    rows, background = given["rows"][:3], given["rows"][3:5]
    answer = post("/predict", {"model": model, "instances": rows})
    found = post(f"/models/{model}/explain", {"instances": rows, "background": background})
    wanted = []
    for number, row in enumerate(rows):
        explained = None
        if "probabilities" in answer:
            explained = int(np.argmax(answer["probabilities"][number]))
        wanted.append(np.mean([by_shap(model, row, other, explained) for other in background], axis=0).tolist())
    report(model, {"columns": given["columns"], "shap": wanted, "axon": found["explanations"]})
