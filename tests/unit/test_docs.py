"""The documentation tells the truth about what can be checked by machine."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
from flask import Flask

from jobs.settings import Settings
from webapp.api import blueprint

ROOT = Path(__file__).parents[2]
ROWS = dict(
    re.findall(
        r"^\| `([A-Z_]+)` \| (.+?) \| .+ \|$", (ROOT / "docs" / "configuration.md").read_text(), re.MULTILINE
    )
)


def test_every_setting_is_documented_and_nothing_else():
    assert set(ROWS) == {field.name.upper() for field in fields(Settings)}


@pytest.mark.parametrize("name", sorted(ROWS))
def test_documented_defaults_are_the_real_ones(name):
    default = getattr(Settings(), name.lower())
    written = ROWS[name]
    if not written.startswith("`") or name == "DATA_DIR":
        assert default in {"", Path("data").absolute()}
        return
    written = written.strip("`")
    if isinstance(default, bool):
        assert (written == "yes") is default
    elif isinstance(default, str):
        assert written == default
    else:
        assert float(written) == float(default)


def test_every_package_is_pinned():
    for path in ROOT.glob("requirements*.txt"):
        for line in path.read_text().splitlines():
            if line and not line.startswith(("#", "-r")):
                assert re.fullmatch(r"[a-z0-9-]+(\[[a-z]+\])?==[\w.]+", line), line


def test_every_package_has_its_reason():
    decisions = (ROOT / "docs" / "decisions.md").read_text()
    shipped = [path for path in ROOT.glob("requirements*.txt") if path.name != "requirements-dev.txt"]
    for line in "\n".join(path.read_text() for path in shipped).splitlines():
        if line and not line.startswith("#"):
            assert f"`{re.split(r'[=[]', line)[0]}`" in decisions, line


def test_the_changelog_knows_the_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


def test_links_between_the_documents_lead_somewhere():
    for page in [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_page_of_the_api_names_every_call():
    written = set(
        re.findall(
            r"`(GET|POST|PATCH|PUT|DELETE) (/api/v1/[^`?]*)[^`]*`", (ROOT / "docs" / "api.md").read_text()
        )
    )
    app = Flask(__name__)
    app.register_blueprint(blueprint)
    real = {
        (method, rule.rule)
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule.startswith("/api/v1/")
    }
    assert written == real
