"""Who may do what: every route refuses the unknown unless it says otherwise.

A route is for signed-in users by default. :func:`public` opens one; :func:`admin_only` and the blueprints in
:data:`ADMIN_BLUEPRINTS` close one to all but admins. Programs identify themselves with an API key, and only
on the blueprints of :data:`PROGRAM_BLUEPRINTS`, so that a leaked key can neither read the account page nor
make more keys.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from flask import Response, current_app, g, redirect, request, url_for
from werkzeug.exceptions import Forbidden, Unauthorized
from werkzeug.wrappers import Response as BaseResponse

from jobs.model import User, UserId
from webapp import key_uses
from webapp.services import services

P = ParamSpec("P")
R = TypeVar("R")

ADMIN_BLUEPRINTS = frozenset({"admin", "rq_dashboard"})
PROGRAM_BLUEPRINTS = frozenset({"api", "live", "probes"})
_ATTRIBUTE = "docqueue_access"


class Access(enum.Enum):
    """For whom a route is."""

    PUBLIC = "public"
    SIGNED_IN = "signed_in"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks, and by what.

    Attributes:
        user: the user.
        secret: the session's token or the API key, to be checked again on long connections.
        by_key: whether an API key was presented; browsers never send one by themselves.
    """

    user: User
    secret: str
    by_key: bool

    def still_valid(self) -> bool:
        """Ask the database whether the session or key has been revoked since."""
        known = services().accounts
        user = known.api_key_user(self.secret) if self.by_key else known.session_user(self.secret)
        return user is not None and user.id == self.user.id


def public(view: Callable[P, R]) -> Callable[P, R]:
    """Open a route to everybody."""
    setattr(view, _ATTRIBUTE, Access.PUBLIC)
    return view


def admin_only(view: Callable[P, R]) -> Callable[P, R]:
    """Close a route to all but admins."""
    setattr(view, _ATTRIBUTE, Access.ADMIN)
    return view


def access_of(endpoint: str) -> Access:
    """Return for whom a route is.

    Args:
        endpoint: a name from the application's URL map.
    """
    if endpoint == "static":
        return Access.PUBLIC
    if endpoint.partition(".")[0] in ADMIN_BLUEPRINTS:
        return Access.ADMIN
    found: Access = getattr(current_app.view_functions[endpoint], _ATTRIBUTE, Access.SIGNED_IN)
    return found


def guard() -> BaseResponse | None:
    """Refuse the request when its sender may not use this route.

    Returns:
        ``None`` to go on, or a redirect to the sign-in page.

    Raises:
        Unauthorized: a program did not identify itself.
        Forbidden: the route is for admins.
    """
    if request.endpoint is None:
        return None
    needed = access_of(request.endpoint)
    if needed is Access.PUBLIC:
        return None
    identity = current_identity()
    if identity is None:
        if is_for_programs():
            raise Unauthorized("Sign in, or send an API key: Authorization: Bearer dq_…")
        target = request.full_path.rstrip("?") if request.method == "GET" else None
        return redirect(url_for("pages.sign_in", next=target), 303)
    if needed is Access.ADMIN and not identity.user.is_admin:
        raise Forbidden("This is for admins.")
    return None


def is_for_programs() -> bool:
    """Tell whether the request goes to a route that answers programs, by JSON instead of pages."""
    if request.blueprint is not None:
        return request.blueprint in PROGRAM_BLUEPRINTS
    return request.path.startswith(("/api/", "/internal/"))


def current_identity() -> Identity | None:
    """Return who asks, or ``None`` for the unknown; looked up once for each request."""
    if "identity" not in g:
        g.identity = _identify()
    found: Identity | None = g.identity
    return found


def current_user() -> User:
    """Return who asks.

    Raises:
        Unauthorized: nobody known; only possible on public routes.
    """
    identity = current_identity()
    if identity is None:
        raise Unauthorized
    return identity.user


def owner_filter() -> UserId | None:
    """Return whose rows may be seen: the user's own, or everybody's (``None``) for an admin."""
    user = current_user()
    return None if user.is_admin else user.id


def _identify() -> Identity | None:
    header = request.headers.get("Authorization", "")
    if header and is_for_programs():
        # A wrong key is refused even when a good cookie came along.
        scheme, _, presented = header.partition(" ")
        user = services().accounts.api_key_user(presented.strip()) if scheme.lower() == "bearer" else None
        if user is None:
            return None
        key_uses.note(presented.strip())
        return Identity(user, presented.strip(), by_key=True)
    token = request.cookies.get(cookie_name())
    if not token:
        return None
    user = services().accounts.session_user(token)
    return None if user is None else Identity(user, token, by_key=False)


# The session's cookie.


def cookie_name() -> str:
    """Return the name of the session's cookie; the prefix makes browsers enforce Secure and the path."""
    return "__Host-docqueue" if services().settings.secure_cookies else "docqueue"


def begin_session(response: Response | BaseResponse, user: User) -> None:
    """Start a session and put its token into a cookie."""
    settings = services().settings
    token = services().accounts.create_session(user.id, settings.session_hours)
    response.set_cookie(
        cookie_name(),
        token,
        max_age=settings.session_hours * 3600,
        path="/",
        secure=settings.secure_cookies,
        httponly=True,
        samesite="Lax",
    )


def end_session(response: Response | BaseResponse) -> None:
    """End the session that the request came with."""
    identity = current_identity()
    if identity is not None and not identity.by_key:
        services().accounts.end_session(identity.secret)
    response.delete_cookie(
        cookie_name(), path="/", secure=services().settings.secure_cookies, httponly=True, samesite="Lax"
    )
