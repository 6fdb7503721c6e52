#!/bin/sh
# Print the path of a Chromium for the browser tests, installing one if there is none.
# Usage: find_chromium.sh PYTHON
set -eu
python=$1

find_installed() {
    for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome google-chrome-stable; do
        if [ -n "$name" ] && command -v "$name" >/dev/null 2>&1; then
            command -v "$name"
            return 0
        fi
    done
    # macOS keeps programs elsewhere.
    for path in "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome" \
        "/Applications/Chromium.app/Contents/MacOS/Chromium"; do
        if [ -x "$path" ]; then
            echo "$path"
            return 0
        fi
    done
    return 1
}

find_playwright() {
    "$python" - <<'PYTHON'
import pathlib
import sys

from playwright.sync_api import sync_playwright

with sync_playwright() as playwright:
    path = pathlib.Path(playwright.chromium.executable_path)
print(path) if path.exists() else sys.exit(1)
PYTHON
}

install_by_apt() {
    command -v apt-get >/dev/null 2>&1 || return 1
    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        sudo -n true 2>/dev/null || return 1
        as_root="sudo -n"
    fi
    $as_root apt-get update -qq >&2 &&
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >&2
}

find_installed && exit 0
find_playwright && exit 0
echo "Looking for a Chromium to install for the browser tests ..." >&2
# On Ubuntu the package of that name needs snap, which containers lack: it may install and not run.
if install_by_apt && path=$(find_installed) && "$path" --version >/dev/null 2>&1; then
    echo "$path"
    exit 0
fi
if "$python" -m playwright install chromium >&2 && find_playwright; then
    exit 0
fi
echo "The browser tests need Chromium: install it, or set CHROMIUM to its path." >&2
exit 1
