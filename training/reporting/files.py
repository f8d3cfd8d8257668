"""The files beside a published or kept checkpoint: `report.html` and `README.md`, the model card.

Both lie in the version's folder and are copied or deleted with it. To answer, the store and the service read only
`model.safetensors` there; `GET /models/{id}/training` also returns the card.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
from pathlib import Path

from models.store import CHECKPOINT_FILE, ModelVersion
from training.fit import FittedModel
from training.kept_model import KeptModel
from training.reporting.card import model_card
from training.reporting.comparison import Comparison
from training.reporting.evaluation import Evaluation, evaluation_of
from training.reporting.html import html_report

REPORT_FILE = "report.html"
CARD_FILE = "README.md"

_CARD_HEAD = "---\nlibrary_name: axon\n"


def write_report(
    model: FittedModel,
    published: ModelVersion | KeptModel,
    comparison: Comparison | None = None,
    *,
    evaluation: Evaluation | None = None,
) -> dict[str, Path]:
    """Evaluates a model and writes the report and the card beside the checkpoint, each file whole or not at all.

    Args:
        model: fitted model.
        published: published version, or place of the kept model.
        comparison: comparison with the baselines; None if these were not trained.
        evaluation: evaluation of the model on the test part; computed if None.

    Returns:
        The paths of `report` and `card` by these names.

    Raises:
        OSError: the disk refuses the write.
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


def copy_pages(checkpoint: Path, published: ModelVersion) -> None:
    """Copies the pages beside a checkpoint to the version that was published from the checkpoint.

    Files with these names that are not pages about a model are not copied: any folder may have a README.md.

    Raises:
        OSError: the disk refuses the write.
    """
    card = checkpoint.with_name(CARD_FILE)
    if checkpoint.name != CHECKPOINT_FILE or not card.is_file():
        return
    if not card.read_text(encoding="utf-8", errors="replace").startswith(_CARD_HEAD):
        return
    for page in (checkpoint.with_name(REPORT_FILE), card):
        if page.is_file():
            shutil.copyfile(page, published.path.with_name(page.name))


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all: to a temporary name first, then renamed."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):  # after a success, the file is renamed already
            temporary.unlink()
