"""Which OCR engine reads pictures, and with which models: what the operator chooses, once for all."""

from __future__ import annotations

import enum
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from jobs.model import JSON

# The command that installs what the default install does not bring.
RAPIDOCR_COMMAND = "pip install -r requirements-rapidocr.txt"
_RAPIDOCR_MODULES = ("rapidocr", "onnxruntime")
_NOT_LANGUAGES = frozenset({"osd", "equ"})


class OcrEngine(enum.StrEnum):
    """What recognises letters: Tesseract, which is always there, or the neural extra."""

    TESSERACT = "tesseract"
    RAPIDOCR = "rapidocr"

    @property
    def is_installed(self) -> bool:
        """Whether its packages are there; nothing is imported."""
        if self is OcrEngine.TESSERACT:
            return True
        return all(importlib.util.find_spec(name) is not None for name in _RAPIDOCR_MODULES)


@dataclass(frozen=True, slots=True)
class OcrSetup:
    """The operator's choice.

    Attributes:
        engine: what reads pictures.
        models_dir: a folder with further ``.traineddata`` files for Tesseract; empty for none.
    """

    engine: OcrEngine = OcrEngine.TESSERACT
    models_dir: str = ""

    @property
    def version(self) -> str:
        """What an extraction by this choice depends on: packages, or the models that are there."""
        if self.engine is OcrEngine.RAPIDOCR:
            return "+".join(f"{name}-{metadata.version(name)}" for name in _RAPIDOCR_MODULES)
        return "tesseract-models-" + ".".join(sorted(self.tesseract_models()))

    def tesseract_models(self) -> dict[str, Path]:
        """Return the files of the Tesseract models that are there, by name; the operator's win."""
        found: dict[str, Path] = {}
        for folder in (packaged_models_dir(), *([Path(self.models_dir)] if self.models_dir else [])):
            found.update({path.stem: path for path in sorted(folder.glob("*.traineddata"))})
        return {name: path for name, path in found.items() if name not in _NOT_LANGUAGES}

    def to_json(self) -> dict[str, JSON]:
        """Return the choice as a JSON object for the child process."""
        return {"engine": self.engine.value, "models_dir": self.models_dir}

    @classmethod
    def from_json(cls, value: Mapping[str, JSON]) -> OcrSetup:
        """Build a choice from what ``to_json`` returned."""
        return cls(engine=OcrEngine(str(value["engine"])), models_dir=str(value["models_dir"]))


def packaged_models_dir() -> Path:
    """Return the folder into which packages put their Tesseract models."""
    return Path(sys.prefix) / "share" / "tessdata"
