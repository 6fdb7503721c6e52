"""Headers, limits, log lines, and that nothing is fetched from elsewhere."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

import webapp
from tests.support.web import close_app, csrf_token, person, uploaded
from tests.support.web import one_database as database_url
from webapp import create_app

__all__ = ["database_url"]
HERE = Path(webapp.__file__).parent
STRICT = {
    "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self' data:",
    "connect-src": "'self'", "form-action": "'self'", "base-uri": "'none'", "frame-ancestors": "'none'",
}  # fmt: skip


def policy(answer):
    parts = [part.strip().partition(" ") for part in answer.headers["Content-Security-Policy"].split(";")]
    return {name: value for name, _, value in parts}


def test_every_answer_carries_the_headers(app, admin, program):
    document = uploaded(program)
    paths = ["/", "/documents", "/account", "/admin/queue", "/nothing", "/healthz", "/sign-in",
             "/static/page.js", f"/jobs/{document['job_id']}", document["links"]["job"], "/rq/"]  # fmt: skip
    for path in paths:
        answer = admin.client.get(path, buffered=True)
        assert answer.headers["X-Content-Type-Options"] == "nosniff", path
        assert answer.headers["Referrer-Policy"] == "no-referrer", path
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin", path
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin", path
        assert "camera=()" in answer.headers["Permissions-Policy"], path
        if path.startswith("/rq"):
            assert "'none'" in policy(answer)["frame-ancestors"]
        else:
            assert policy(answer) == STRICT, path
            assert "unsafe" not in answer.headers["Content-Security-Policy"]
        if not path.startswith("/static"):
            assert answer.headers["Cache-Control"] == "no-store", path


def test_no_page_holds_what_its_own_policy_forbids(admin, program):
    document = uploaded(program)
    for path in ("/", "/documents", "/account", "/admin/queue", "/admin/queue/clear", "/sign-in/link/x",
                 f"/jobs/{document['job_id']}", f"/documents/{document['id']}"):  # fmt: skip
        page = admin.get(path).text
        assert re.findall(r"<script(?![^>]*\bsrc=)[^>]*>", page) == [], path
        assert "<style" not in page
        assert re.findall(r"\sstyle=|\son[a-z]+=", page) == [], path


def test_our_files_name_no_other_host():
    files = [
        path for folder in ("templates", "static") for path in (HERE / folder).rglob("*") if path.is_file()
    ]
    assert len(files) > 20
    for path in files:
        text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert re.findall(r"https?://|//cdn|\binnerHTML\s*=|\beval\(", text) == [], path


def test_everything_but_the_upload_takes_small_bodies(member):
    form = {"csrf_token": csrf_token(member.client), "name": "x" * 100_000}
    assert member.client.post("/account/keys", data=form).status_code == 413
    assert member.post("/account/keys", headers={"Transfer-Encoding": "chunked"}).status_code == 411


def test_one_log_line_for_each_request_and_no_name_in_it(program, member):
    with structlog.testing.capture_logs() as lines:
        uploaded(program, "secret-name.txt")
        member.get("/documents?q=secret-search")
    requests = [line for line in lines if line["event"] == "request"]
    assert [line["route"] for line in requests] == ["/api/v1/documents", "/documents"]
    assert requests[0]["status"] == 202
    assert requests[0]["user_id"] == member.user.id
    assert requests[0]["duration_ms"] >= 0
    assert "secret" not in repr(lines)


@pytest.mark.parametrize(("hops", "address"), [(0, "127.0.0.1"), (1, "203.0.113.9"), (2, "198.51.100.7")])
def test_a_forwarded_address_counts_only_from_trusted_proxies(settings, engine, hops, address, monkeypatch):
    app = create_app(replace(settings, trusted_proxies=hops))
    seen = []
    try:

        @app.get("/whoami")
        def whoami():
            from flask import request

            seen.append(request.remote_addr)
            return ""

        somebody = person(app, engine, "somebody")
        somebody.get("/whoami", headers={"X-Forwarded-For": "198.51.100.7, 203.0.113.9"})
        assert seen == [address]
    finally:
        close_app(app)


def test_readiness_tells_causes_but_no_secret(app, settings, monkeypatch):
    client = app.test_client()
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json["status"]) == (200, "ready")
    assert ready.json["checks"]["cage"] == "sandboxed"
    services = app.extensions["docqueue"]

    def away():
        raise OSError("password=hunter2")

    app.extensions["docqueue"] = replace(services, schema_is_current=away)
    answer = client.get("/readyz")
    app.extensions["docqueue"] = services
    assert (answer.status_code, answer.json["checks"]["database"]) == (503, "unreachable")
    assert "hunter2" not in answer.text
    assert client.get("/healthz").status_code == 200


def test_the_factory_starts_from_the_environment_alone(environ, monkeypatch):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        app = create_app()
        assert app.test_client().get("/healthz").status_code == 200
        close_app(app)
    finally:
        root.handlers[:], _ = before
        root.setLevel(before[1])
        structlog.reset_defaults()
