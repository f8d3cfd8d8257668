"""The files beside a published checkpoint: `report.html` and `README.md`, the model card.

They lie in the version's folder, so that they go with it when it is copied or deleted; the store and the service read
`model.safetensors` there and nothing else.
"""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path

from models.store import ModelVersion
from training.fit import FittedModel
from training.reporting.card import model_card
from training.reporting.comparison import Comparison
from training.reporting.evaluation import Evaluation, evaluation_of
from training.reporting.html import html_report

REPORT_FILE = "report.html"
CARD_FILE = "README.md"


def write_report(
    model: FittedModel,
    published: ModelVersion,
    comparison: Comparison | None = None,
    *,
    evaluation: Evaluation | None = None,
) -> dict[str, Path]:
    """Evaluates a model and writes what came of it beside its checkpoint, whole files or none.

    Args:
        model: what was fitted.
        published: what it became.
        comparison: with the baselines, where they were trained.
        evaluation: of the model's test part, where it was made already.

    Returns:
        The paths by what they are: `report` and `card`.

    Raises:
        OSError: the disk refuses.
    """
    evaluation = evaluation or evaluation_of(model)
    folder = published.path.parent
    texts = {
        "report": (folder / REPORT_FILE, html_report(model, str(published), evaluation, comparison)),
        "card": (folder / CARD_FILE, model_card(model, str(published), evaluation, comparison)),
    }
    for path, text in texts.values():
        write_text(path, text)
    return {what: path for what, (path, _) in texts.items()}


def write_text(path: Path, text: str) -> None:
    """Writes to a temporary name beside it, then renames: nobody sees half a file."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):  # it is gone where all went well
            temporary.unlink()
