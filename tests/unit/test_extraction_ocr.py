from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from benchmarks.extraction_ocr import character_similarity, word_f1
from jobs.errors import ConfigurationError
from jobs.extraction import ENGINE_VERSION, Limits, OcrEngine, OcrSetup, ReadOptions, engine_version, reading
from jobs.extraction.ocr import languages
from jobs.extraction.ocr.layout import has_columns, reading_order
from jobs.extraction.ocr.merging import joined, merged, without_noise
from jobs.extraction.ocr.neural import is_common
from jobs.extraction.ocr.seen import Seen, Word
from jobs.extraction.readers import image
from jobs.operations import ExtractStage
from jobs.settings import Settings, load_settings


def word(text, confidence, left, top=0.0, line=0, block=0):
    return Word(text, confidence, (left, top, left + 10 * len(text), top + 10), line, block)


def test_the_surer_reading_of_each_place_is_kept():
    first = [word("T0TAL", 50, 0), word("42.00", 90, 200)]
    second = [word("TOTAL", 80, 2), word("42,O0", 40, 201)]
    assert joined(merged(first, second)) == "TOTAL 42.00"


def test_what_one_reading_missed_is_put_where_it_stands():
    first = [word("Total", 90, 0, 0, line=0), word("Change", 90, 0, 100, line=1)]
    second = [word("5.00", 90, 200, 1), word("Cash", 90, 0, 50), word("~", 40, 300, 50)]
    assert joined(merged(first, second)).splitlines() == ["Total 5.00", "Cash", "Change"]


def test_specks_and_ruled_lines_are_no_words():
    words = [word("----", 90, 0), word("|", 20, 50), word("=", 90, 70), word("a", 10, 90)]
    assert [one.text for one in without_noise(words)] == ["=", "a"]


def column(left, count=6, width=200):
    return [(left, 20.0 * row, left + width, 20.0 * row + 12) for row in range(count)]


def test_columns_are_read_one_after_the_other_below_their_title():
    title = (0.0, -40.0, 480.0, -20.0)
    boxes = [*column(280.0), title, *column(0.0)]
    assert has_columns(boxes)
    assert [index for block in reading_order(boxes) for row in block for index in row] == [
        6, *range(7, 13), *range(6),
    ]  # fmt: skip


def test_labels_and_amounts_are_read_row_by_row():
    boxes = [*column(0.0), *column(280.0, width=40)]
    assert not has_columns(boxes)
    assert reading_order(boxes) == [[[row, row + 6] for row in range(6)]]


def test_languages_become_models_and_what_is_missing_is_told():
    installed = {"eng", "chi_tra", "deu"}
    models = languages.choose_models(["de", "zh", "fr"], installed)
    assert (models.names, models.languages, models.missing) == (("deu", "chi_tra"), ("de", "zh"), ("fr",))
    sentence = languages.missing_sentence(models, installed)
    assert "cannot read fr" in sentence
    assert "installed: de, en, zh" in sentence
    assert "fra.traineddata" in sentence
    assert "OCR_MODELS_DIR" in sentence


def test_without_any_model_that_fits_english_is_read():
    assert languages.choose_models(["fr"], {"eng"}).names == ("eng",)
    assert languages.choose_models([], {"eng"}).names == ("eng",)


def test_the_version_tells_engine_and_models(tmp_path):
    (tmp_path / "fra.traineddata").touch()
    plain, more = OcrSetup(), OcrSetup(models_dir=str(tmp_path))
    neural = OcrSetup(engine=OcrEngine.RAPIDOCR)
    assert "eng" in plain.tesseract_models()
    assert "osd" not in plain.tesseract_models()
    assert more.tesseract_models()["fra"] == tmp_path / "fra.traineddata"
    versions = {engine_version(setup) for setup in (plain, more, neural)}
    assert len(versions) == 3
    assert all(version.startswith(ENGINE_VERSION) for version in versions)
    assert "rapidocr-3" in engine_version(neural)


def test_another_engine_or_language_is_another_artifact():
    versions = {
        ExtractStage(settings).engine_version
        for settings in (Settings(), Settings(ocr_engine="rapidocr"), Settings(ocr_languages="de,en"))
    }
    assert len(versions) == 3


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"OCR_ENGINE": "abbyy"}, "OCR_ENGINE"),
        ({"OCR_LANGUAGES": "german"}, "OCR_LANGUAGES"),
        ({"OCR_LANGUAGES": ","}, "OCR_LANGUAGES"),
        ({"OCR_MODELS_DIR": "/nowhere/at/all"}, "OCR_MODELS_DIR"),
    ],
)
def test_a_wrong_choice_is_refused_at_the_start(environ, named):
    with pytest.raises(ConfigurationError, match=named):
        load_settings(environ)


def test_an_engine_that_is_not_installed_is_refused_with_the_command(monkeypatch):
    monkeypatch.setattr("jobs.extraction.ocr_setup._RAPIDOCR_MODULES", ("no_such_module",))
    with pytest.raises(ConfigurationError, match="pip install"):
        load_settings({"OCR_ENGINE": "rapidocr"})


def test_the_scores_mean_what_they_say():
    assert word_f1("Total: 42", "total 42") == 1.0
    assert word_f1("Total: 42", "total 42", spaced=True) == 0.5
    assert character_similarity("abc  d", "ABC d") == 1.0
    assert character_similarity("abxd", "abcd") == 0.75


def test_the_extra_names_what_its_command_installs():
    assert "rapidocr==" in (Path(__file__).parents[2] / "requirements-rapidocr.txt").read_text()


def test_without_chinese_the_extra_reads_latin_signs_only():
    assert all(map(is_common, ["a", "ü", "ß", "ł", "7", "%", "€", " ", "blank"]))
    assert not any(map(is_common, ["家", "ε", "の", "ひ", "①"]))


class _SlowRecognizer:
    """Reads a page in ten seconds of a clock of its own."""

    engine = "slow"

    def __init__(self):
        self.now = 0.0

    def __enter__(self):
        return self

    def __exit__(self, *ending):
        return None

    def read(self, picture):
        self.now += 10.0
        return Seen("page", 90)


def test_no_page_is_begun_that_might_not_be_done_in_time(tmp_path, monkeypatch):
    recognizer = _SlowRecognizer()
    monkeypatch.setattr(reading, "time", SimpleNamespace(monotonic=lambda: recognizer.now))
    monkeypatch.setattr(image.ocr, "opened", lambda source, found: recognizer)
    path = tmp_path / "stored"
    frames = [Image.new("L", (20, 20), shade) for shade in range(5)]
    frames[0].save(path, "TIFF", save_all=True, append_images=frames[1:])
    source = reading.Source(
        path=path, filename="a.tif", media_type="image/tiff", limits=Limits(), deadline=35.0,
        report=lambda share: None, options=ReadOptions(), ocr=OcrSetup(),
    )  # fmt: skip
    found = image.read(source)
    assert found.pages == ["page"] * 3
    assert found.warnings == ["Only the first 3 of 5 pages were read."]
