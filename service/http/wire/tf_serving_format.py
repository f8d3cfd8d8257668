"""TensorFlow Serving over HTTP: `POST /v1/models/{model}:predict`, `:classify` and `:regress`.

The model is in the path, perhaps with `/versions/{version}` or `/labels/{label}`: labels are Axon's aliases.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from models.alias_file import is_alias
from models.columns.cells import MAX_ECHO, listed, sendable, shown
from models.columns.encoding import RowEncoder
from models.errors import Fault, ModelNotFound, RowError
from service.answer_form import AnswerForm
from service.batching.served_version import ServedVersion
from service.errors import InvalidRequest
from service.http.error_forms import as_400, error_text
from service.http.problems import problem_of
from service.http.wire.bulk_json import NumberReader
from service.http.wire.document_reader import DocumentReader, ReadDocument
from service.http.wire.json_document import Path
from service.http.wire.small_json import parse_small
from service.http.wire.tensor_json import (
    ListSteps,
    RowSteps,
    checked_keys,
    has_b64,
    object_of_cells,
    only_key,
    read_array,
    read_tensor,
    rows_at_once,
)
from service.http.wire.tf_serving_answers import (
    OUTPUTS,
    ROWS,
    ClassifyWriter,
    PredictWriter,
    RegressWriter,
    check_classifies,
    check_regresses,
)
from service.http.wire.wire_format import AnswerWriter, Body, Head, ReadRequest, WireFormat, WrittenError

_LARGE_BODY_BYTES = 8192  # a smaller body is read in a fraction of a millisecond
_MANY_NUMBERS_BYTES = 2048  # from this size on, a matrix of numbers is read in less time than lists of them
_VERSION = re.compile(r"[0-9]{1,18}", re.ASCII)
_SERVING_DEFAULT = "serving_default"
_FIELDS = ("instances", "inputs")


def reference_in(parameters: Mapping[str, str]) -> str:
    """Returns the reference of the model in a path.

    Args:
        parameters: `model`, and perhaps `version` or `label`. Version 0 is the default version.

    Raises:
        InvalidRequest: the version is not a whole number.
        ModelNotFound: the label cannot be an alias.
    """
    model, version, label = parameters["model"], parameters.get("version"), parameters.get("label")
    if label is not None:
        if not is_alias(label):
            raise ModelNotFound(f"model {sendable(model[:MAX_ECHO])!r} has no alias {sendable(label[:MAX_ECHO])!r}.")
        return f"{model}@{label}"
    if version is None:
        return model
    if not _VERSION.fullmatch(version):
        raise InvalidRequest(
            f"The version has to be a whole number, not {shown(version)}; aliases are in /labels/{{label}}."
        )
    number = int(version)
    return f"{model}@{number}" if number else model


class TfServingFormat(WireFormat):
    """A method of TensorFlow Serving.

    Attributes:
        large: paths of the arrays of a body that may be large.
    """

    content_type = b"application/json"
    in_steps_from = _LARGE_BODY_BYTES
    large: Sequence[Path]

    def __init__(self) -> None:
        self.numbers = NumberReader()

    def model_in_head(self, head: Head) -> str | None:
        """Returns the reference of the model in the path."""
        return reference_in(head.parameters)

    def read(self, body: Body, named: str | None, head: Head) -> ReadRequest:
        """Reads a small body."""
        document = parse_small(body)
        steps, form = self.read_document(document, decodes=has_b64(body))
        return named, rows_at_once(steps), b"true" in body or b"false" in body, form

    @abstractmethod
    def read_document(self, document: Any, *, decodes: bool) -> ReadDocument:
        """Returns the steps that read the rows of a document, and the form of the answer.

        Args:
            document: content of the body; a large array may be a `LargeArray`.
            decodes: True if a cell may be a text in base64.

        Raises:
            InvalidRequest: the document is not a request for this method.
        """

    def reader(self, body: Body, reference: str | None, encoder: RowEncoder | None, head: Head) -> DocumentReader:
        """Returns a reader of a large body."""
        return DocumentReader(self, body, reference, encoder)

    def write_error(self, error: Exception, request_id: str) -> WrittenError:
        """Writes `{"error": …}`."""
        problem = as_400(problem_of(error))
        body, media_type = error_text(problem, request_id)
        return WrittenError(
            int(problem.status), problem.code, problem.detail, media_type.encode(), body, problem.raw_headers()
        )


class PredictFormat(TfServingFormat):
    """The method `:predict`: `instances` row by row, or `inputs` as a matrix or by column."""

    large = (("instances",), ("inputs",), ("inputs", "*"))

    def read(self, body: Body, named: str | None, head: Head) -> ReadRequest:
        """Reads a small body; a matrix of plain numbers by the fast reader."""
        if len(body) >= _MANY_NUMBERS_BYTES:
            request = self.numbers.read_request(body, may_name_model=False)
            if request is not None:
                return named, request[1], False, ROWS
        return super().read(body, named, head)

    def read_document(self, document: Any, *, decodes: bool) -> ReadDocument:
        """Returns the steps that read the rows of a document, and the form of the answer."""
        checked_keys(document, (*_FIELDS, "signature_name"))
        _check_signature(document, (_SERVING_DEFAULT, "tensorflow/serving/predict"))
        if only_key(document, _FIELDS) == "instances":
            return read_array("instances", document["instances"], decodes=decodes), ROWS
        return read_tensor("inputs", document["inputs"], decodes=decodes), OUTPUTS

    def writer(self, served: ServedVersion) -> AnswerWriter:
        """Returns a writer of a model version's answers."""
        return PredictWriter(served)


class ExamplesFormat(TfServingFormat):
    """The methods `:classify` and `:regress`: `examples` by column name, and a `context` that all examples share.

    Args:
        method: name of the method.
        writer: class of the answer writers.
        check: function that raises `InvalidRequest` for a model version without such answers.
    """

    large = (("examples",),)

    def __init__(self, method: str, writer: type[AnswerWriter], check: Callable[[ServedVersion], None]) -> None:
        super().__init__()
        self._check = check
        self._signatures = (_SERVING_DEFAULT, f"tensorflow/serving/{method}")
        self._writer = writer

    def read_document(self, document: Any, *, decodes: bool) -> ReadDocument:
        """Returns the steps that read the rows of a document, and no form."""
        checked_keys(document, ("examples", "context", "signature_name"))
        _check_signature(document, self._signatures)
        if "examples" not in document:
            raise InvalidRequest("The body has no examples.")
        context = document.get("context")
        if context is not None and type(context) is not dict:
            raise InvalidRequest("context has to be an object of values by column name.")
        steps = read_array("examples", document["examples"], decodes=decodes)
        return _with_context(steps, context or {}, decodes=decodes), None

    def check_form(self, served: ServedVersion, form: AnswerForm | None) -> None:
        """Checks that a model version has answers of this method."""
        self._check(served)

    def writer(self, served: ServedVersion) -> AnswerWriter:
        """Returns a writer of a model version's answers."""
        return self._writer(served)


def tf_serving_formats() -> dict[str, TfServingFormat]:
    """Returns the format of each method."""
    return {
        "predict": PredictFormat(),
        "classify": ExamplesFormat("classify", ClassifyWriter, check_classifies),
        "regress": ExamplesFormat("regress", RegressWriter, check_regresses),
    }


def _check_signature(document: Mapping[str, Any], accepted: Sequence[str]) -> None:
    """Refuses a signature that the model does not have."""
    name = document.get("signature_name")
    if name is not None and name != "" and name not in accepted:
        raise InvalidRequest(f"signature_name {shown(name)} is not one of {listed(accepted)}.")


def _with_context(steps: ListSteps, context: Mapping[str, Any], *, decodes: bool) -> RowSteps:
    """Yields examples with the values that all examples share.

    Raises:
        RowError: an example is not an object, or repeats a column of the context.
    """
    first = 0
    shared = object_of_cells(context, 0, decodes=decodes)
    for rows in steps:
        if rows is None:
            yield None
            continue
        examples = rows if isinstance(rows, list) else rows.tolist()
        for number, example in enumerate(examples, first):
            if type(example) is not dict:
                raise RowError([Fault(number, None, "an example has to be an object of values by column name")])
            if shared and not shared.keys().isdisjoint(example):
                name = next(iter(shared.keys() & example.keys()))
                raise RowError([Fault(number, sendable(name[:MAX_ECHO]), "this column is in the context too")])
        yield [{**shared, **example} for example in examples] if shared else examples
        first += len(examples)
