"""Signing in by password or one-time link, and out."""

from __future__ import annotations

import math

from flask import flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from jobs.model import User
from webapp.access import begin_session, current_identity, end_session, public
from webapp.pages import blueprint
from webapp.services import services
from webapp.throttle import Throttle

_by_name_and_address = Throttle(limit=8)
_by_address = Throttle(limit=60)


@blueprint.get("/sign-in")
@public
def sign_in() -> ResponseReturnValue:
    """Ask for name and password."""
    if current_identity() is not None:
        return redirect(_local(request.args.get("next")), 303)
    return render_template("sign_in.html", target=request.args.get("next", ""))


@blueprint.post("/sign-in")
@public
def sign_in_submit() -> ResponseReturnValue:
    """Check name and password; guessing is slowed down for each name and address."""
    name, target = request.form.get("name", "")[:80], request.form.get("next", "")
    address = request.remote_addr or ""
    key = f"{name.strip().lower()} {address}"
    wait = max(_by_name_and_address.wait_seconds(key), _by_address.wait_seconds(address))
    if wait > 0:
        minutes = math.ceil(wait / 60)
        page = render_template(
            "sign_in.html", target=target, name=name, error=f"Too many attempts. Try again in {minutes} min."
        )
        return page, 429, {"Retry-After": str(math.ceil(wait))}
    user = services().accounts.check_password(name, request.form.get("password", ""))
    if user is None:
        _by_name_and_address.fail(key)
        _by_address.fail(address)
        page = render_template(
            "sign_in.html", target=target, name=name, error="This name and password do not fit together."
        )
        return page, 401
    _by_name_and_address.forgive(key)
    return _welcome(user, target, by_link=False)


@blueprint.get("/sign-in/link/<token>")
@public
def sign_in_link(token: str) -> ResponseReturnValue:
    """Show a button that uses the link up.

    The link itself changes nothing: mail scanners, chat previews and browsers that load ahead would
    burn it before its owner clicked.
    """
    return render_template("sign_in_link.html", token=token)


@blueprint.post("/sign-in/link/<token>")
@public
def sign_in_link_submit(token: str) -> ResponseReturnValue:
    """Use a one-time link up."""
    user = services().accounts.redeem_sign_in_link(token)
    if user is None:
        return render_template("sign_in_link.html", token=None), 410
    return _welcome(user, "", by_link=True)


@blueprint.post("/sign-out")
@public
def sign_out() -> ResponseReturnValue:
    """End the session."""
    session.clear()
    flash("You are signed out.")
    response = redirect(url_for("pages.sign_in"), 303)
    end_session(response)
    response.headers["Clear-Site-Data"] = '"cache"'
    return response


def _welcome(user: User, target: str, *, by_link: bool) -> ResponseReturnValue:
    # A new CSRF secret for a new session: what an anonymous page knew is worth nothing now.
    session.clear()
    # A link proves as much as a password does; the account page lets its bearer set one.
    session["by_link"] = by_link
    response = redirect(_local(target), 303)
    begin_session(response, user)
    return response


def _local(target: str | None) -> str:
    """Return a path of ours; anything that could lead elsewhere becomes the home page."""
    home = url_for("pages.home")
    if not target or not target.startswith("/") or target.startswith(("//", "/\\")):
        return home
    return target if target.isprintable() and "\\" not in target else home
