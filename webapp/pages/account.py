"""A user's own page: password, API keys, sessions."""

from __future__ import annotations

from flask import flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from jobs.accounts import SHORTEST_PASSWORD
from jobs.errors import DocQueueError
from webapp.access import begin_session, current_user, end_session
from webapp.pages import blueprint
from webapp.services import services


@blueprint.get("/account")
def account() -> ResponseReturnValue:
    """Show the account."""
    return _page()


@blueprint.post("/account/password")
def account_password() -> ResponseReturnValue:
    """Set the password; the present one, or a one-time link used for this session, must vouch for it."""
    user, known = current_user(), services().accounts
    present, wanted = request.form.get("present", ""), request.form.get("password", "")
    if not session.get("by_link") and known.check_password(user.name, present) is None:
        return _page(refusal="The present password is not right."), 422
    if wanted != request.form.get("again", ""):
        return _page(refusal="The two new passwords differ."), 422
    try:
        known.set_password(user.id, wanted)
    except DocQueueError as error:
        return _page(refusal=error.public_message), 422
    known.end_all_sessions(user.id)
    session.clear()
    flash("The password is set. Every other session was signed out.")
    response = redirect(url_for("pages.account"), 303)
    begin_session(response, user)
    return response


@blueprint.post("/account/sessions/end")
def account_end_sessions() -> ResponseReturnValue:
    """Sign this user out everywhere."""
    services().accounts.end_all_sessions(current_user().id)
    session.clear()
    response = redirect(url_for("pages.sign_in"), 303)
    end_session(response)
    return response


@blueprint.post("/account/keys")
def account_create_key() -> ResponseReturnValue:
    """Make an API key and show it this once."""
    try:
        key = services().accounts.create_api_key(current_user().id, request.form.get("name", ""))
    except DocQueueError as error:
        return _page(key_error=error.public_message), 422
    return _page(new_key=key)


@blueprint.post("/account/keys/<key_id>/revoke")
def account_revoke_key(key_id: str) -> ResponseReturnValue:
    """Revoke an API key; programs that use it are refused from now on."""
    if services().accounts.revoke_api_key(current_user().id, key_id):
        flash("The key is revoked.")
    return redirect(url_for("pages.account"), 303)


def _page(*, new_key: str | None = None, key_error: str | None = None, refusal: str | None = None) -> str:
    keys = services().accounts.list_api_keys(current_user().id)
    return render_template(
        "account.html",
        keys=[key for key in keys if key.revoked_at is None],
        revoked=[key for key in keys if key.revoked_at is not None],
        new_key=new_key,
        key_error=key_error,
        refusal=refusal,
        needs_present=not session.get("by_link"),
        shortest_password=SHORTEST_PASSWORD,
    )
