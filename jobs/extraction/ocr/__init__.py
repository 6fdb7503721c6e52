"""Read text in pictures, with the engine that the operator chose.

The parts, an arrow points at what is imported::

    readers ──> ocr ──> tesseract ──> merging, layout, pictures ──> seen
                 ├────> neural ─────> layout, pictures (its packages only when it is used)
                 └────> languages
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from PIL import Image

from jobs.extraction.ocr import languages
from jobs.extraction.ocr.neural import RapidOcrRecognizer
from jobs.extraction.ocr.pictures import is_blank
from jobs.extraction.ocr.seen import Seen
from jobs.extraction.ocr.tesseract import TesseractRecognizer
from jobs.extraction.ocr_setup import OcrEngine, OcrSetup, packaged_models_dir
from jobs.extraction.reading import Reading, Source

__all__ = ["Recognizer", "Seen", "is_blank", "judge", "opened"]

_DOUBTFUL = 60


class Recognizer(Protocol):
    """What reads pictures."""

    @property
    def engine(self) -> str:
        """Its package's name."""

    def read(self, picture: Image.Image) -> Seen:
        """Read one picture of any mode; an empty or tiny one has no text."""


def opened(source: Source, reading: Reading) -> AbstractContextManager[Recognizer]:
    """Return the engine for a document; entering it loads its models.

    Args:
        source: says which engine and which languages.
        reading: gets a warning for languages that cannot be read.
    """
    asked = source.options.languages or (languages.DEFAULT,)
    if source.ocr.engine is OcrEngine.RAPIDOCR:
        strange = languages.beyond_rapidocr(asked)
        if strange:
            reading.warnings.append(
                f"OCR cannot read {', '.join(strange)}: the engine rapidocr knows Chinese, Japanese and "
                "languages in the Latin script; OCR_ENGINE=tesseract reads others where their models are."
            )
        return RapidOcrRecognizer(reads_han=languages.wants_han(asked))
    installed = source.ocr.tesseract_models()
    models = languages.choose_models(asked, installed)
    if models.missing:
        reading.warnings.append(languages.missing_sentence(models, installed))
    return TesseractRecognizer(
        _models_folder(source.ocr, models.names),
        models.names,
        is_rightward=languages.is_rightward(models.languages),
    )


def _models_folder(setup: OcrSetup, names: Sequence[str]) -> Path:
    """Return one folder with the models; Tesseract looks into one only, and the cage allows no links."""
    packaged = packaged_models_dir()
    if not setup.models_dir:
        return packaged
    folder = Path(tempfile.mkdtemp(prefix="tessdata-", dir=os.environ["TMPDIR"]))
    files = {**setup.tesseract_models(), "osd": packaged / "osd.traineddata"}
    for name in (*names, "osd"):
        shutil.copyfile(files[name], folder / f"{name}.traineddata")
    return folder


def judge(confidences: Sequence[int], source: Source, reading: Reading) -> None:
    """Record how sure the OCR was, and warn when it was not.

    Args:
        confidences: of each picture read, 0 to 100; not empty.
        source: says which languages were looked for.
        reading: gets ``ocr_confidence`` and perhaps a warning.
    """
    mean = round(sum(confidences) / len(confidences))
    reading.metadata["ocr_confidence"] = mean
    if mean < _DOUBTFUL:
        looked_for = ", ".join(source.options.languages or (languages.DEFAULT,))
        reading.warnings.append(
            f"The text in pictures was hard to read (confidence {mean} of 100), so expect mistakes. "
            f"OCR looked for these languages: {looked_for}; others can be asked for by their codes."
        )
