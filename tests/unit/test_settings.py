"""Settings: read once, checked, and told plainly when wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.errors import ConfigurationError
from jobs.settings import (
    embedded_redis_socket,
    load_or_create_secret_key,
    load_settings,
    prepare_data_dir,
)


def test_the_embedded_default_needs_no_setting_at_all(tmp_path):
    settings = load_settings({"DATA_DIR": str(tmp_path)})
    assert settings.host == "127.0.0.1"
    assert settings.uses_sqlite
    assert settings.uses_embedded_redis
    assert not settings.llm_enabled


@pytest.mark.parametrize("spelling", ["postgres://u@h/d", "postgresql://u@h/d", "postgresql+psycopg://u@h/d"])
def test_every_common_spelling_of_a_postgresql_address_works(spelling):
    assert load_settings({"DATABASE_URL": spelling}).database_url == "postgresql+psycopg://u@h/d"


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"PORT": "eighty"}, "PORT"),
        ({"PORT": "70000"}, "PORT"),
        ({"WORKERS": "0"}, "WORKERS"),
        ({"LEASE_SECONDS": "10", "HEARTBEAT_SECONDS": "9"}, "HEARTBEAT_SECONDS"),
        ({"DATABASE_URL": "mysql://x"}, "DATABASE_URL"),
        ({"REDIS_URL": "http://x"}, "REDIS_URL"),
        ({"LLM_BASE_URL": "http://x"}, "LLM_MODEL"),
        ({"SECURE_COOKIES": "perhaps"}, "SECURE_COOKIES"),
        ({"LOG_FORMAT": "xml"}, "LOG_FORMAT"),
    ],
)
def test_a_wrong_value_is_refused_by_name(environ, named):
    with pytest.raises(ConfigurationError, match=named):
        load_settings(environ)


def test_secrets_are_not_in_the_printed_form():
    shown = repr(load_settings({"SECRET_KEY": "hush1", "LLM_API_KEY": "hush2", "CRON_TOKEN": "hush3"}))
    assert "hush" not in shown


def test_a_socket_path_always_fits_into_the_kernels_limit():
    deep = Path("/" + "very-long-folder-name/" * 10)
    assert len(str(embedded_redis_socket(deep))) <= 100
    assert embedded_redis_socket(deep) == embedded_redis_socket(deep)
    assert embedded_redis_socket(deep) != embedded_redis_socket(deep / "other")


def test_an_unwritable_data_folder_is_told_in_one_line(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(ConfigurationError, match="DATA_DIR"):
        prepare_data_dir(load_settings({"DATA_DIR": str(blocked / "data")}))


def test_the_secret_key_is_made_once_and_private(tmp_path):
    settings = load_settings({"DATA_DIR": str(tmp_path)})
    first = load_or_create_secret_key(settings)
    assert load_or_create_secret_key(settings) == first
    assert len(first) >= 48
    assert (tmp_path / "secret_key").stat().st_mode & 0o077 == 0
