"""The files beside a published or kept checkpoint: `report.html` and `README.md`, the model card.

Both lie in the version's folder and are copied or deleted with it. To answer, the store and the service read only
`model.safetensors` there; `GET /models/{id}/training` also returns the card.
"""

from __future__ import annotations

from pathlib import Path

from models.model_version import CARD_FILE, REPORT_FILE, ModelVersion
from models.store import CHECKPOINT_FILE
from models.whole_file import write_whole
from training.fitted_model import FittedModel
from training.kept_model import KeptModel
from training.reporting.card import model_card
from training.reporting.comparison import Comparison
from training.reporting.evaluation import Evaluation, evaluation_of
from training.reporting.html import html_report

_CARD_HEAD = "---\nlibrary_name: axon\n"


def write_report(
    model: FittedModel,
    published: ModelVersion | KeptModel,
    comparison: Comparison | None = None,
    *,
    evaluation: Evaluation | None = None,
    seconds: float | None = None,
) -> dict[str, Path | str]:
    """Evaluates a model and writes the report and the card beside the checkpoint, each page whole or not at all.

    Args:
        model: fitted model.
        published: published version, or place of the kept model.
        comparison: comparison with the baselines; None if these were not trained.
        evaluation: evaluation of the model on the test part; computed if None.
        seconds: seconds that are left of the budget of the run; None for no budget.

    Returns:
        The paths of `report` and `card` by these names, or their URLs in a bucket.

    Raises:
        OSError, StoreError: the store refuses the write.
    """
    evaluation = evaluation or evaluation_of(model, seconds=seconds)
    texts = {
        "report": (REPORT_FILE, html_report(model, str(published), evaluation, comparison)),
        "card": (CARD_FILE, model_card(model, str(published), evaluation, comparison)),
    }
    return {what: published.write_page(file_name, _encoded(text)) for what, (file_name, text) in texts.items()}


def copy_pages(checkpoint: Path, published: ModelVersion) -> None:
    """Copies the pages beside a checkpoint to the version that was published from the checkpoint.

    Files with these names that are not pages about a model are not copied: any folder may have a README.md.

    Raises:
        OSError, StoreError: the store refuses the write.
    """
    card = checkpoint.with_name(CARD_FILE)
    if checkpoint.name != CHECKPOINT_FILE or not card.is_file():
        return
    if not card.read_text(encoding="utf-8", errors="replace").startswith(_CARD_HEAD):
        return
    for page in (checkpoint.with_name(REPORT_FILE), card):
        if page.is_file():
            published.write_page(page.name, page.read_bytes())


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all: to a temporary name first, then renamed."""
    write_whole(path, _encoded(text))


def _encoded(text: str) -> bytes:
    return text.encode(errors="backslashreplace")
