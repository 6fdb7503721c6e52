"""Where the web process listens."""

from __future__ import annotations

import pytest

from jobs.settings import load_settings
from webapp.gunicorn_conf import bind_address

POSTGRES = "postgresql://db.example/docqueue"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "127.0.0.1:8000"),
        ({"PORT": "5000"}, "127.0.0.1:5000"),
        ({"DATABASE_URL": POSTGRES}, "127.0.0.1:8000"),
        ({"PORT": "5000", "DATABASE_URL": POSTGRES}, "0.0.0.0:5000"),
        ({"PORT": "5000", "DATABASE_URL": POSTGRES, "HOST": "127.0.0.1"}, "127.0.0.1:5000"),
        ({"HOST": "0.0.0.0"}, "0.0.0.0:8000"),
        ({"HOST": "::1"}, "[::1]:8000"),
    ],
)
def test_only_a_platform_or_an_explicit_host_opens_the_service_to_others(environ, expected):
    assert bind_address(load_settings(environ), environ) == expected
