"""The client of the Open Inference Protocol by Pydantic models: `pydantic_oip.py URL`."""

import sys

from pydantic_open_inference import InputsBaseModel, OutputsBaseModel, RemoteModel
from pydantic_open_inference._client import BadStatusCodeFromServerError, OpenInferenceHTTPClientAPI
from reports import MODELS, report


class Rows(InputsBaseModel):
    """The matrix of a model with numbers only."""

    input: list[tuple[float, ...]]


class Price(InputsBaseModel):
    """The columns of `price`."""

    area: list[float]
    rooms: list[float]


class Classes(OutputsBaseModel):
    """The answer of a classifier."""

    predictions: list[str]
    probabilities: list[tuple[float, float, float]]


class Values(OutputsBaseModel):
    """The answer of a regressor."""

    predictions: list[float]


def remote(model, inputs, outputs, **options):
    return RemoteModel(model_name=model, inputs_model=inputs, outputs_model=outputs, server_url=sys.argv[1], **options)


colours = remote("colours", Rows, Classes, request_timeout_seconds=30)
report("colours", colours.infer(Rows(input=MODELS["colours"]["rows"])).model_dump())
area, rooms = zip(*MODELS["price"]["rows"], strict=True)
price = remote("price", Price, Values, model_version="1")
report("price", price.infer(Price(area=area, rooms=rooms)).model_dump())
report("ready", OpenInferenceHTTPClientAPI(base_url=sys.argv[1]).model_readiness("colours"))
report("unknown model ready", OpenInferenceHTTPClientAPI(base_url=sys.argv[1]).model_readiness("nobody"))
try:
    remote("nobody", Rows, Classes).infer(Rows(input=MODELS["colours"]["rows"]))
except BadStatusCodeFromServerError as error:
    report("unknown model", error.status_code)
