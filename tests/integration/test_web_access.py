"""Who may do what, for every route that there is."""

from __future__ import annotations

import pytest

from jobs import accounts
from jobs.model import Role
from tests.support.web import csrf_token, upload, uploaded
from webapp.access import ADMIN_BLUEPRINTS
from webapp.pages import sign_in
from webapp.throttle import Throttle

PUBLIC = {
    "static", "probes.healthz", "probes.readyz", "pages.sign_in", "pages.sign_in_submit",
    "pages.sign_in_link", "pages.sign_in_link_submit", "pages.sign_out",
}  # fmt: skip
# Public to the guard, because it checks a token of its own.
OWN_CHECK = {"probes.process_queue"}
FOR_ADMINS = {"probes.metrics", "api.queue_pause", "api.queue_resume"}
FOR_PROGRAMS = {"api", "live", "probes"}
PASSWORD = "correct horse battery"


def every_route(app, document):
    """Yield endpoint, method, URL and headers of every route, with the ids of something that is there."""
    operation = app.extensions["docqueue"].bulk.start("retry", {"all": True}, by="admin")
    values = {
        "operation_id": operation.id,
        "document_id": document["id"], "item_id": document["job_id"], "token": "t", "key_id": "k",
        "filename": "style.css", "instance_number": 0, "job_id": "x", "queue_name": "documents",
        "registry_name": "failed", "per_page": "8", "order": "asc", "page": "1",
        "number": 1,
    }  # fmt: skip
    for rule in app.url_map.iter_rules():
        given = {name: values[name] for name in rule.arguments if name not in (rule.defaults or {})}
        for name in ("per_page", "page"):
            if name in given and f"<int:{name}>" in rule.rule:
                given[name] = int(given[name])
        url = app.url_map.bind("localhost").build(
            rule.endpoint, {**(rule.defaults or {}), **given}, method=next(iter(rule.methods - {"OPTIONS"}))
        )
        headers = {"Upgrade": "websocket", "Connection": "Upgrade"} if rule.websocket else {}
        for method in sorted(rule.methods - {"HEAD", "OPTIONS"}):
            yield rule.endpoint, method, url, headers


def call(client, method, url, headers):
    with client.open(url, method=method, headers=headers) as answer:
        return answer.status_code, answer.headers


def test_the_unknown_reach_nothing_but_the_public_routes(app, program):
    client = app.test_client()
    seen = set()
    for endpoint, method, url, headers in every_route(app, uploaded(program)):
        seen.add(endpoint)
        status, answered = call(client, method, url, headers)
        if endpoint in PUBLIC:
            assert status in {200, 303, 400, 410}, (endpoint, method, status)
        elif endpoint.partition(".")[0] in FOR_PROGRAMS:
            assert status == 401, (endpoint, method, status)
            assert answered["WWW-Authenticate"].startswith("Bearer")
            assert answered["Content-Type"] == "application/problem+json"
        else:
            assert status == 303, (endpoint, method, status)
            assert answered["Location"].startswith("/sign-in")
    assert seen >= PUBLIC | OWN_CHECK | FOR_ADMINS


def test_a_member_is_refused_wherever_only_admins_may_go(app, program, member):
    tried = 0
    for endpoint, method, url, headers in every_route(app, uploaded(program)):
        if endpoint.partition(".")[0] in ADMIN_BLUEPRINTS or endpoint in FOR_ADMINS:
            tried += 1
            assert call(member.client, method, url, headers)[0] == 403, (endpoint, method)
    assert tried > 20


def test_what_belongs_to_somebody_else_looks_like_nothing(app, program, stranger):
    token = csrf_token(stranger.client)
    tried = 0
    document = uploaded(program)
    for endpoint, method, url, headers in every_route(app, document):
        foreign = document["id"] in url or document["job_id"] in url or "/bulk-operations/" in url
        if foreign and endpoint.partition(".")[0] not in ADMIN_BLUEPRINTS:
            tried += 1
            status, _ = call(stranger.client, method, url, {**headers, "X-CSRFToken": token})
            assert status == 404, (endpoint, method, status)
    assert tried > 15
    assert stranger.get("/api/v1/documents").json["documents"] == []
    assert stranger.get("/api/v1/jobs").json["jobs"] == []


def test_an_admin_sees_every_page(app, program, admin):
    for endpoint, method, url, headers in every_route(app, uploaded(program)):
        changes = method != "GET" or endpoint == "rq_dashboard.requeue_all"
        if changes or headers or endpoint == "pages.sign_in_link" or endpoint.startswith("live."):
            continue
        status, _ = call(admin.client, method, url, headers)
        missing_there = {"rq_dashboard.job_view", "rq_dashboard.job_info", "rq_dashboard.static"}
        expected = {404} if endpoint in missing_there else {200, 303}
        not_yet = (
            "text",
            "markdown",
            "result",
            "tables",
            "tables_json",
            "tables_xlsx",
            "table_csv",
            "chunks",
        )
        if endpoint in {"api.page_image", *(f"api.document_{part}" for part in not_yet)}:
            expected = {404}
        assert status in expected, (endpoint, url, status)


def test_made_up_ids_are_not_found(member):
    for path in (
        "/documents/x",
        "/jobs/x",
        "/api/v1/documents/..%2f",
        "/api/v1/jobs/%00",
        "/jobs/" + "9" * 300,
    ):
        assert member.get(path).status_code == 404, path


def test_an_api_key_opens_no_page(app, program, key_headers):
    assert app.test_client().get("/account", headers=key_headers).status_code == 303
    assert program.get("/api/v1/documents").status_code == 200


def test_a_wrong_key_is_refused_even_beside_a_good_cookie(member):
    answer = member.get("/api/v1/documents", headers={"Authorization": "Bearer dq_abc_def"})
    assert answer.status_code == 401


def test_a_revoked_key_is_refused(app, engine, member):
    key = accounts.create_api_key(engine, member.user.id, "tests")
    headers = {"Authorization": f"Bearer {key}"}
    client = app.test_client()
    assert client.get("/api/v1/documents", headers=headers).status_code == 200
    (shown,) = accounts.list_api_keys(engine, member.user.id)
    assert member.post(f"/account/keys/{shown.id}/revoke").status_code == 303
    assert client.get("/api/v1/documents", headers=headers).status_code == 401


# CSRF and origins.


@pytest.mark.parametrize("path", ["/sign-out", "/account/keys", "/documents", "/account/sessions/end"])
def test_a_form_without_its_token_is_refused(member, path):
    assert member.post(path, token=False).status_code == 400


def test_a_cookie_needs_the_token_on_the_api_and_a_key_does_not(app, program, member):
    document = uploaded(program)
    path = f"/api/v1/jobs/{document['job_id']}/cancel"
    refused = member.post(path, token=False)
    assert (refused.status_code, refused.content_type) == (400, "application/problem+json")
    assert member.post(path).status_code == 202
    assert program.post(f"/api/v1/jobs/{document['job_id']}/retry").status_code == 202


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://localhost"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, 200),
    ],
)
def test_another_sites_page_cannot_act(member, headers, status):
    assert member.post("/account/keys", headers=headers, data={"name": "x"}).status_code == status


def test_another_sites_page_cannot_open_a_socket(program, member):
    path = f"/jobs/{uploaded(program)['job_id']}/events/ws"
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"}
    assert member.get(path, headers={**upgrade, "Origin": "https://evil.example"}).status_code == 403
    assert member.get(path, headers={**upgrade, "Origin": "null"}).status_code == 403


# Signing in.


@pytest.fixture(autouse=True)
def _fresh_throttles(monkeypatch):
    monkeypatch.setattr(sign_in, "_by_name_and_address", Throttle(limit=2))
    monkeypatch.setattr(sign_in, "_by_address", Throttle(limit=50))


def sign_in_as(client, name, password, target=""):
    data = {"name": name, "password": password, "next": target}
    return client.post("/sign-in", data={**data, "csrf_token": csrf_token(client, "/sign-in")})


def test_a_password_signs_in_and_guessing_is_slowed_down(app, engine):
    accounts.create_user(engine, "paula", PASSWORD, Role.MEMBER)
    client = app.test_client()
    assert sign_in_as(client, "paula", "wrong" * 4).status_code == 401
    answer = sign_in_as(client, "Paula", PASSWORD, "/documents")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/documents")
    cookie = next(value for value in answer.headers.getlist("Set-Cookie") if value.startswith("docqueue="))
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert client.get("/documents").status_code == 200
    other = app.test_client()
    for _ in range(2):
        assert sign_in_as(other, "paula", "wrong" * 4).status_code == 401
    refused = sign_in_as(other, "paula", PASSWORD)
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 0


def test_a_link_is_burnt_by_its_button_only(app, engine):
    token = accounts.make_sign_in_link(engine)
    client = app.test_client()
    path = f"/sign-in/link/{token}"
    assert client.get(path).status_code == 200
    assert client.get(path).status_code == 200
    form = {"csrf_token": csrf_token(client, path)}
    assert client.post(path, data=form).headers["Location"] == "/"
    assert client.get("/admin/queue").status_code == 200
    again = app.test_client()
    used = again.post(path, data={"csrf_token": csrf_token(again, path)})
    assert used.status_code == 410
    assert "used up" in used.text


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/a\nb"]
)
def test_signing_in_leads_nowhere_else(member, target):
    assert member.get("/sign-in", query_string={"next": target}).headers["Location"] == "/"


def test_signing_out_ends_the_session_itself(app, engine, member):
    stolen = app.test_client()
    stolen.set_cookie("docqueue", member.cookie)
    assert stolen.get("/documents").status_code == 200
    assert member.post("/sign-out").status_code == 303
    assert stolen.get("/documents").status_code == 303


def test_a_password_needs_the_present_one_unless_a_link_vouched(app, engine, member):
    form = {"password": PASSWORD, "again": PASSWORD, "present": "wrong" * 4}
    assert member.post("/account/password", data=form).status_code == 422
    client = app.test_client()
    path = f"/sign-in/link/{accounts.make_sign_in_link(engine, 'mia')}"
    client.post(path, data={"csrf_token": csrf_token(client, path)})
    answer = client.post("/account/password", data={**form, "csrf_token": csrf_token(client)})
    assert answer.status_code == 303
    assert client.get("/account").status_code == 200
    assert member.get("/account").status_code == 303, "every other session was ended"
    assert accounts.check_password(engine, "mia", PASSWORD) is not None


def test_secure_cookies_are_bound_to_the_host(settings, engine):
    from dataclasses import replace

    from tests.support.web import close_app
    from webapp import create_app

    app = create_app(replace(settings, secure_cookies=True))
    try:
        client = app.test_client()
        path = f"/sign-in/link/{accounts.make_sign_in_link(engine)}"
        base = "https://localhost"
        page = client.get(path, base_url=base)
        token = page.text.split('name="csrf-token" content="')[1].split('"')[0]
        answer = client.post(path, data={"csrf_token": token}, base_url=base)
        cookies = [value for value in answer.headers.getlist("Set-Cookie") if value.startswith("__Host-")]
        assert any(value.startswith("__Host-docqueue=") for value in cookies)
        assert all("Secure" in value and "Path=/" in value and "Domain" not in value for value in cookies)
        assert "Strict-Transport-Security" in answer.headers
    finally:
        close_app(app)


def test_uploads_of_the_unknown_are_refused_before_a_byte_is_kept(app, settings):
    assert upload(app.test_client(), ("a.txt", b"x" * 100_000)).status_code == 401
    assert not list((settings.data_dir / "spool").glob("*"))
