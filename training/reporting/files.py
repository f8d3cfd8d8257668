"""The files beside a published or kept checkpoint: `report.html` and `README.md`, the model card.

They lie in the version's folder, so that they go with it when it is copied or deleted; the store and the service read
`model.safetensors` there and nothing else.
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
    """Evaluates a model and writes what came of it beside its checkpoint, whole files or none.

    Args:
        model: what was fitted.
        published: version that it became, or where it is kept.
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


def copy_pages(checkpoint: Path, published: ModelVersion) -> None:
    """Copies the pages beside a checkpoint to a version that was published from it.

    Files of these names that are no pages of a model are left alone: any folder may have a README.md.

    Raises:
        OSError: the disk refuses.
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
    """Writes to a temporary name beside it, then renames: nobody sees half a file."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):  # it is gone where all went well
            temporary.unlink()
