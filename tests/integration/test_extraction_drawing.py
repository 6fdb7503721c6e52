"""Pages as pictures, drawn in the cage."""

import base64
import io

import pypdf
import pytest
from PIL import Image

from jobs.errors import Permanent
from jobs.extraction import MOST_PAGES, Limits, ReadOptions, draw, has_images, page_images
from jobs.extraction.faults import Fault
from tests.integration.test_extraction_documents import pdf, picture
from tests.support.files import locked_pdf

LIMITS = Limits(wall_seconds=30)


def drawn(folder, media_type, data, **options):
    path = folder / "stored"
    path.write_bytes(data)
    return draw(path, media_type=media_type, **{"limits": LIMITS, "on_progress": lambda _: None, **options})


def opened(image):
    return Image.open(io.BytesIO(image.data))


def test_each_page_of_a_pdf_is_drawn_small_and_for_reading(tmp_path):
    shares = []
    found = drawn(tmp_path, "application/pdf", pdf(["Hello", "World"]), on_progress=shares.append)
    assert [(one.page, one.size, one.width) for one in found.images] == [
        (1, "reading", 1200), (1, "thumbnail", 400), (2, "reading", 1200), (2, "thumbnail", 400),
    ]  # fmt: skip
    assert (found.page_count, found.warnings) == (2, [])
    for one in found.images:
        assert (opened(one).format, opened(one).size) == ("WEBP", (one.width, one.height))
    # The first page is not blank: it shows the word in black.
    assert opened(found.images[0]).convert("L").getextrema()[0] < 50
    assert shares == sorted(shares)


def test_pages_begin_where_they_are_asked_for_and_end_after_twenty(tmp_path):
    data = pdf([f"Page {number}" for number in range(1, 31)])
    found = drawn(tmp_path, "application/pdf", data, first_page=6)
    assert sorted({one.page for one in found.images}) == list(range(6, 6 + MOST_PAGES))
    assert found.page_count == 30
    beyond = drawn(tmp_path, "application/pdf", data, first_page=31)
    assert (beyond.images, beyond.page_count) == ((), 30)


def test_pages_of_a_tiff_and_one_frame_of_an_animation_are_drawn(tmp_path):
    tiff = drawn(tmp_path, "image/tiff", picture("Total", "TIFF", frames=2))
    assert [(one.page, one.width) for one in tiff.images] == [(1, 900), (1, 400), (2, 900), (2, 400)]
    moving = drawn(tmp_path, "image/gif", picture("Total", "GIF", frames=3))
    assert ({one.page for one in moving.images}, moving.page_count) == ({1}, 1)


def test_what_is_transparent_is_white(tmp_path):
    out = io.BytesIO()
    Image.new("RGBA", (50, 50), (0, 0, 0, 0)).save(out, "PNG")
    reading, _ = drawn(tmp_path, "image/png", out.getvalue()).images
    assert opened(reading).convert("RGB").getpixel((25, 25)) == (255, 255, 255)


@pytest.mark.parametrize(("size", "box"), [((14_400, 2), (1200, 1)), ((2, 14_400), (1, 3000))])
def test_pages_of_any_shape_stay_within_their_box(tmp_path, size, box):
    writer = pypdf.PdfWriter()
    writer.add_blank_page(*size)
    out = io.BytesIO()
    writer.write(out)
    reading = drawn(tmp_path, "application/pdf", out.getvalue()).images[0]
    assert reading.width <= box[0]
    assert reading.height <= box[1]


@pytest.mark.parametrize(
    ("media_type", "data", "limits", "code"),
    [
        ("text/plain", b"words", LIMITS, "unsupported_kind"),
        ("application/pdf", b"%PDF-1.4 nothing", LIMITS, "unreadable"),
        ("image/png", picture("x"), Limits(wall_seconds=30, image_pixels=1000), "too_many_pixels"),
        ("image/png", b"\x89PNG\r\n\x1a\nnothing", LIMITS, "unreadable"),
    ],
)
def test_what_cannot_be_drawn_says_why(tmp_path, media_type, data, limits, code):
    with pytest.raises(Permanent) as caught:
        drawn(tmp_path, media_type, data, limits=limits)
    assert caught.value.code == code


def test_a_protected_pdf_is_drawn_with_its_password_only(tmp_path):
    locked = locked_pdf(["secret"], "password")
    for password, code in ((None, "encrypted"), ("guess", "wrong_password")):
        with pytest.raises(Permanent) as caught:
            drawn(tmp_path, "application/pdf", locked, options=ReadOptions(password=password))
        assert caught.value.code == code
    found = drawn(tmp_path, "application/pdf", locked, options=ReadOptions(password="password"))
    assert [one.page for one in found.images] == [1, 1]


def test_kinds_that_are_drawn():
    assert all(map(has_images, ["application/pdf", "image/tiff", "image/heic"]))
    assert not any(map(has_images, ["text/plain", "image/svg+xml", "application/zip"]))


WEBP = base64.b64encode(b"RIFF\0\0\0\0WEBP....").decode()
GOOD = {"page": 1, "size": "reading", "width": 5, "height": 5, "data": WEBP}


@pytest.mark.parametrize(
    "change",
    [
        {"page": 0},
        {"page": "1"},
        {"size": "huge"},
        {"width": 0},
        {"height": 10_000},
        {"data": "no base64!"},
        {"data": base64.b64encode(b"<svg onload=alert(1)>").decode()},
        {"data": None},
    ],
)
def test_a_child_that_lies_is_not_believed(monkeypatch, tmp_path, change):
    def answer(image):
        return {"drawing": {"images": [image], "page_count": 1, "warnings": []}}, None

    monkeypatch.setattr(page_images.cage, "run", lambda *_, **__: answer(GOOD))
    assert len(drawn(tmp_path, "application/pdf", b"").images) == 1
    monkeypatch.setattr(page_images.cage, "run", lambda *_, **__: answer(GOOD | change))
    with pytest.raises(Permanent) as caught:
        drawn(tmp_path, "application/pdf", b"")
    assert isinstance(caught.value.__context__, Fault)
