"""A model as one Python file that needs NumPy alone."""

from __future__ import annotations

import base64

from conversion.exporting.numpy_network import STAGES, answer_source, network_source, places_source
from conversion.exporting.python_literals import assignment
from conversion.exporting.source_bundle import SourceBundler
from conversion.exporting.source_model import SourceModel
from conversion.exporting.stage_tensors import stage_tensors
from conversion.exporting.standalone_parts import (
    READERS,
    bounds_source,
    columns_source,
    docstring,
    imports_source,
    join,
    member_weights_source,
    need_columns,
    predict_source,
)

_LINE = 120  # characters of base64 on a line

_ANSWERS = '''\
def answers(rows: Any) -> Array:
    """Returns the answers to rows, (rows, {outputs}); raises ValueError for a row that the model does not take."""
    x = encode_rows(rows, COLUMNS)
    blocks = [answer(x[at : at + ROWS_AT_A_TIME]) for at in range(0, len(x), ROWS_AT_A_TIME)]
    found = np.concatenate([np.zeros((0, {outputs}), dtype=np.float32), *blocks])
    check_finite(found)
    return found
'''
_MAIN = """\
if __name__ == "__main__":
    sys.exit(answer_table(sys.argv[1:], COLUMNS, answer_columns, sys.stdout))
"""


def numpy_source(model: SourceModel, module: str) -> str:
    """Returns the source of a standalone Python file that computes the model's answers.

    Args:
        model: model to export.
        module: name of the file without `.py`.
    """
    network = model.network
    bundler = SourceBundler()
    forward = [network_source(network, bundler), answer_source(network, bundler)]
    bundler.need(STAGES, "Array", "unpack")
    need_columns(bundler, model)
    bundler.need("conversion.exporting.standalone.tables", "answer_table")
    if model.labels:
        bundler.need("models.columns.labels", "label_text")
    bundle = bundler.bundle()
    return join(
        docstring(model, module, needs="NumPy"),
        imports_source(bundle, ["import sys", "import numpy as np"], {"typing": ["Any"], "numpy.typing": ["NDArray"]}),
        *forward,
        _ANSWERS.format(outputs=network.out_features),
        *predict_source(model, for_tables=True),
        READERS + bundle.definitions,
        columns_source(model) + bounds_source(network) + places_source(network),
        _weights_source(model),
        _MAIN,
    )


def _weights_source(model: SourceModel) -> str:
    """Returns the source of the tensors: float32 values in base64."""
    tensors = [stage_tensors(stages) for stages in model.network.members]
    shapes = {name: array.shape for name, array in tensors[0].items()}
    text = base64.b64encode(
        b"".join(array.astype("<f4").tobytes() for own in tensors for array in own.values())
    ).decode()
    lines = "\n".join(text[at : at + _LINE] for at in range(0, len(text), _LINE))
    return (
        "# Tensors of each network, by the position of the stage: float32, little-endian, in base64.\n"
        + assignment("SHAPES", shapes)
        + f'WEIGHTS = """\n{lines}\n"""\n'
        + f"MEMBERS = unpack(WEIGHTS, SHAPES, members={len(tensors)})\n"
        + member_weights_source(model.network)
    )
