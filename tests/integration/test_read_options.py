"""What a sender asks of the reading, from the request to the cage; and passwords, which leave no trace."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import sqlalchemy as sa

from jobs import accounts
from jobs.blobs import BlobStore
from jobs.delivery import Delivery, web_connection
from jobs.errors import ConfigurationError, Permanent
from jobs.extraction import Limits, Ocr, ReadOptions, extract
from jobs.intake import Intake
from jobs.model import IMAGES_OPERATION, RETRY_PAGES, Failed, Status
from jobs.queries import Queries
from jobs.read_options import (
    BUILT_IN_PRESETS,
    asks_the_same,
    key_parts,
    options_again,
    options_json,
    pack_options,
    parse_options,
    presets_of,
    unpack_options,
)
from jobs.runner import Runner
from jobs.settings import Settings
from jobs.tables import metadata, queue_items
from jobs.uploads import Order, Upload
from tests.integration.test_pages import wild
from tests.support.corpus import CORPUS
from tests.support.files import locked_pdf
from tests.support.items import add_document

SECRET = Settings(secret_key="a key")
ASKED = ReadOptions(("de", "en"), Ocr.ALWAYS, ((1, 5), (8, 8)), tables=False, password="geheim")
LOCKED = CORPUS / "nasty" / "testWORD_protected_passtika.docx"


def test_options_are_read_from_words_and_from_json():
    said = {
        "languages": "de,EN",
        "ocr": "always",
        "pages": "8,1-3,4-5",
        "tables": "false",
        "password": "geheim",
    }
    assert parse_options(said, {}) == ASKED
    assert parse_options({**said, "languages": ["de", "en"], "tables": False}, {}) == ASKED
    assert parse_options({"ocr": "", "pages": None, "other": 1}, {}) == ReadOptions()


def test_an_explicit_option_beats_the_preset():
    found = parse_options({"preset": "fast", "ocr": "auto"}, BUILT_IN_PRESETS)
    assert found == ReadOptions(tables=False)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"preset": "none"}, "standard, scan, fast"),
        ({"languages": "german"}, "two letters"),
        ({"languages": "a1"}, "two letters"),
        ({"ocr": "sometimes"}, "auto, always, never"),
        ({"pages": "0"}, "from 1"),
        ({"pages": "5-2"}, "from 1"),
        ({"pages": "1;2"}, "from 1"),
        ({"pages": ",".join(map(str, range(1, 200, 2)))}, None),
        ({"pages": ",".join(map(str, range(1, 400, 2)))}, "from 1"),
        ({"tables": "perhaps"}, "true or false"),
        ({"password": "x" * 600}, "512"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_can(said, sentence):
    if sentence is None:
        parse_options(said, BUILT_IN_PRESETS)
        return
    with pytest.raises(ValueError, match=sentence):
        parse_options(said, BUILT_IN_PRESETS)


def test_without_a_word_the_standard_preset_counts_also_an_operator_s():
    own = presets_of(Settings(presets='{"standard": {"languages": "de"}}'))
    assert parse_options({}, own) == parse_options({"preset": "standard"}, own) == ReadOptions(("de",))
    assert parse_options({"preset": "scan"}, own).preset == "scan"
    # What is kept is kept in full, and means the same whatever becomes of the presets.
    packed = pack_options(parse_options({"preset": "fast"}, own), SECRET)
    assert json.loads(packed) == {"ocr": "never", "preset": "fast", "tables": False}
    assert unpack_options(packed, SECRET).preset == "fast"


def test_an_operator_s_presets_are_checked_at_the_start():
    own = presets_of(Settings(presets='{"german": {"languages": "de"}, "fast": {"ocr": "never"}}'))
    assert own["german"] == ReadOptions(languages=("de",))
    assert own["fast"] == ReadOptions(ocr=Ocr.NEVER)
    assert list(presets_of(Settings())) == ["standard", "scan", "fast"]
    for wrong in (
        "{",
        "[]x",
        "3",
        '{"A b": {}}',
        '{"a": {"password": "x"}}',
        '{"a": {"ocr": "no"}}',
        '{"a": 1}',
    ):
        with pytest.raises(ConfigurationError, match="PRESETS"):
            presets_of(Settings(presets=wrong))


def test_what_is_kept_of_options_has_no_password_in_clear():
    packed = pack_options(ASKED, SECRET)
    assert "geheim" not in packed
    assert unpack_options(packed, SECRET) == ASKED
    assert options_json(packed) == {
        "languages": "de,en", "ocr": "always", "pages": "1-5,8", "tables": False, "password": True
    }  # fmt: skip
    assert pack_options(ReadOptions(), SECRET) is None
    with pytest.raises(Permanent) as caught:
        unpack_options(packed, Settings(secret_key="another key"))
    assert caught.value.code == "password_lost"


def test_a_password_tells_readings_apart_and_usual_options_do_not():
    assert key_parts(ReadOptions(), SECRET) == {}
    one, other = (key_parts(ReadOptions(password=word), SECRET) for word in ("one", "other"))
    assert one != other
    assert "one" not in json.dumps(one)


@pytest.fixture
def runner(engine, settings):
    return Runner(engine, settings, "worker-1")


def enqueue(service, engine, settings, options, content=None):
    document_id = add_document(engine, settings, content or LOCKED.read_bytes(), filename="a.docx")
    return service.enqueue(document_id, "extract", options=pack_options(options, settings))


def everything(engine) -> str:
    """Return all that the database holds."""
    with engine.connect() as connection:
        return "".join(
            repr(row)
            for table in metadata.sorted_tables
            for row in connection.execute(sa.select(table)).all()
        )


@pytest.mark.parametrize("together", [False, True], ids=["alone", "in a batch"])
def test_a_password_opens_a_document_and_is_gone_when_it_is_completed(
    engine, settings, service, runner, caplog, together
):
    item = enqueue(service, engine, settings, ReadOptions(password="tika", tables=False))
    assert json.loads(item.options).keys() == {"password_hash", "sealed", "tables"}
    if together:
        lease = service.claim(item.id, "w")
        assert service.settle_many([lease]) == {item.id}
        ended = service.read_item(item.id)
    else:
        ended = runner.run(item.id)
        assert Queries(engine).artifact(item.document_id, "extract").body["text"].strip()
    assert ended.status is Status.COMPLETED
    assert json.loads(ended.options).keys() == {"password_hash", "tables"}
    assert options_json(ended.options) == {"tables": False, "password": True}
    assert "sealed" not in everything(engine)
    assert "tika" not in caplog.text


def test_a_password_stays_for_a_retry(engine, settings, service):
    item = enqueue(service, engine, settings, ReadOptions(password="tika"))
    lease = service.claim(item.id, "w")
    ended = service.settle(lease, Failed("busy", "Busy.", permanent=False))
    assert (ended.status, unpack_options(ended.options, settings).password) == (Status.PENDING, "tika")


def test_without_the_password_nothing_comes_out_of_what_was_read_with_it(engine, settings, service, runner):
    opened = enqueue(service, engine, settings, ReadOptions(password="tika"))
    assert runner.run(opened.id).status is Status.COMPLETED
    for options, code in ((ReadOptions(), "encrypted"), (ReadOptions(password="guess"), "wrong_password")):
        ended = runner.run(enqueue(service, engine, settings, options).id)
        assert (ended.status, ended.error_code) == (Status.FAILED, code)
        assert "assword" in ended.error_message


def locked_with_failed_pages(engine, settings, service, monkeypatch, **options):
    """Read a protected PDF whose second page breaks its reader; return the document's id."""
    wild(monkeypatch, "number in (0, 2) and os.abort()")
    content = locked_pdf(["The first page", "The second page"], "geheim")
    document_id = add_document(engine, settings, content=content, filename="a.pdf")
    asked = ReadOptions(password="geheim", **options)
    item = service.enqueue(document_id, options=pack_options(asked, settings))
    assert Runner(engine, settings, "w").run(item.id).status is Status.COMPLETED
    assert Queries(engine).artifact(document_id, "extract").meta["failed_pages"] == 1
    wild(monkeypatch, "assert number == 2")
    return document_id


def test_pages_of_a_protected_document_are_read_again_with_its_password(
    engine, settings, service, runner, monkeypatch
):
    document_id = locked_with_failed_pages(engine, settings, service, monkeypatch)
    for options, code in ((ReadOptions(), "encrypted"), (ReadOptions(password="guess"), "wrong_password")):
        item = service.enqueue(document_id, RETRY_PAGES, options=pack_options(options, settings))
        ended = runner.run(item.id)
        assert (ended.status, ended.error_code) == (Status.FAILED, code)
    asked = pack_options(ReadOptions(password="geheim"), settings)
    item = service.enqueue(document_id, RETRY_PAGES, options=asked)
    assert runner.run(item.id).status is Status.COMPLETED
    found = Queries(engine).artifact(document_id, "extract").body
    assert (found["pages"], found["failed_pages"]) == (["The first page", "The second page"], [])


def test_pages_of_a_protected_document_are_drawn_with_its_password(engine, settings, service, runner):
    content = locked_pdf(["Hello"], "geheim")
    for options, code in (
        (ReadOptions(), "encrypted"),
        (ReadOptions(password="guess"), "wrong_password"),
        (ReadOptions(password="geheim"), None),
        (ReadOptions(), "encrypted"),
    ):
        document_id = add_document(engine, settings, content, "a.pdf", media_type="application/pdf")
        item = service.enqueue(document_id, IMAGES_OPERATION, options=pack_options(options, settings))
        assert runner.run(item.id).error_code == code
        drawn = Queries(engine).drawn_pages(document_id)
        assert list(drawn) == ([] if code else [1])


def test_the_item_that_made_the_newest_extraction_is_found(engine, settings, service, runner):
    document_id = add_document(engine, settings, content=b"Words.", filename="a.txt")
    assert Queries(engine).reader_of(document_id) is None
    first, second = (service.enqueue(document_id, operation) for operation in ("extract", "process"))
    runner.run(first.id)
    assert Queries(engine).reader_of(document_id).id == first.id
    runner.run(second.id)
    assert Queries(engine).reader_of(document_id).id == second.id
    with engine.begin() as connection:
        connection.execute(sa.delete(queue_items).where(queue_items.c.id == second.id))
    # How it was read is not known any more; how it was read before says nothing of it.
    assert Queries(engine).reader_of(document_id) is None


def test_options_for_another_job_are_those_of_the_first_without_a_password_that_is_lost():
    packed = pack_options(ASKED, SECRET)
    assert options_again(packed, SECRET) == ASKED
    assert options_again(packed, Settings(secret_key="another key")) == replace(ASKED, password=None)
    assert options_again(None, SECRET) == ReadOptions()


def test_readings_are_the_same_when_all_but_the_preset_s_name_is():
    packed = pack_options(ASKED, SECRET)
    assert asks_the_same(packed, ASKED, SECRET)
    assert asks_the_same(packed, replace(ASKED, preset="scan"), SECRET)
    assert asks_the_same(None, ReadOptions(), SECRET)
    for other in (replace(ASKED, password=None), replace(ASKED, password="x"), replace(ASKED, tables=True)):
        assert not asks_the_same(packed, other, SECRET)
    assert not asks_the_same(None, ASKED, SECRET)


def test_options_of_many_new_documents_reach_their_items(engine, settings, service):
    blobs, delivery = BlobStore(settings.data_dir), Delivery(web_connection(settings), settings)
    intake = Intake(engine, settings, blobs, service, delivery)
    admin = accounts.ensure_admin(engine).id

    def upload(text):
        spool = intake.new_spool()
        spool.write(text)
        return Upload("a.txt", spool)

    for count in (1, 3):
        order = Order(options=ReadOptions(languages=("de",)))
        taken = intake.take([upload(b"%d-%d" % (count, n)) for n in range(count)], order, owner=admin)
        for one in taken.accepted:
            assert one.item.options == '{"languages":"de"}'
            with engine.connect() as connection:
                kept = sa.select(queue_items.c.options).where(queue_items.c.id == one.item.id)
                assert connection.execute(kept).scalar_one() == one.item.options


def test_only_the_pages_that_are_asked_for_are_read_and_the_others_keep_their_places():
    path = CORPUS / "typical" / "redp5110_sampled.pdf"
    whole = extract(path, filename="a.pdf", limits=Limits())
    some = extract(path, filename="a.pdf", limits=Limits(), options=ReadOptions(pages=((2, 3), (5, 5))))
    assert (some.page_count, len(some.pages)) == (whole.page_count, 5)
    assert [bool(page) for page in some.pages] == [False, True, True, False, True]
    assert [some.pages[index][:40] for index in (1, 2, 4)] == [whole.pages[index][:40] for index in (1, 2, 4)]
    assert any("only those asked for were read: 2-3,5" in warning for warning in some.warnings)
    with pytest.raises(Permanent) as caught:
        extract(path, filename="a.pdf", limits=Limits(), options=ReadOptions(pages=((9_000, 9_001),)))
    assert caught.value.code == "no_such_pages"


def test_pictures_of_text_are_read_when_it_is_asked():
    scan = CORPUS / "truth" / "ocr" / "phototest.tif"
    assert "fox" in extract(scan, filename="a.tif", limits=Limits()).text
    unread = extract(scan, filename="a.tif", limits=Limits(), options=ReadOptions(ocr=Ocr.NEVER))
    assert unread.text.strip() == ""
    assert any("not read by OCR" in warning for warning in unread.warnings)
    foreign = extract(scan, filename="a.tif", limits=Limits(), options=ReadOptions(languages=("de", "en")))
    assert "fox" in foreign.text
    assert any(warning.startswith("OCR cannot read de: no model") for warning in foreign.warnings)


def test_a_page_with_text_is_read_as_a_picture_only_when_it_is_asked():
    path = CORPUS / "typical" / "habibi.pdf"
    engines = {
        when: extract(path, filename="a.pdf", limits=Limits(), options=ReadOptions(ocr=when)).metadata.get(
            "ocr_page_count", 0
        )
        for when in Ocr
    }
    assert engines[Ocr.AUTO] == engines[Ocr.NEVER] == 0
    assert engines[Ocr.ALWAYS] == 1
