#!/usr/bin/env bash
# Makes everything ready for `make run` (argument: run) or `make test` (argument: test): a virtual environment in
# .venv, a Mosquitto, what lays out PDFs, and for tests a Chromium. Done again only where something changed: the
# second time takes no time.
set -euo pipefail
cd "$(dirname "$0")/.."

purpose="${1:-run}"
log="$PWD/.setup.log"
policy=/usr/sbin/policy-rc.d
made_policy=""

say() { printf 'set-up: %s\n' "$*"; }

fail() {
    printf '\nset-up cannot go on: %s\n' "$*" >&2
    exit 1
}

# Runs a command silently; its output is shown only when it fails.
quietly() {
    if ! "$@" >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        fail "this failed (its last lines are above, all of it is in $log): $*"
    fi
}

may_be_root() { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

can_apt() { command -v apt-get >/dev/null && may_be_root; }

apt_install() {
    as_root apt-get update || true # an old list of packages may still do
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

# --- Python ----------------------------------------------------------------------------------------------------------

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    fail "Milepost needs Python 3.11 or newer, and there is none on the PATH. Install it with
  apt-get install python3 python3-venv     (Debian 12, Ubuntu 24.04 or newer)
  dnf install python3                      (Fedora)
  brew install python                      (macOS)
or say where it is: make run PYTHON=/path/to/python3"
}

# Debian keeps venv and pip's seed in a package of their own.
ensure_venv_module() {
    local python="$1" version
    if "$python" -c 'import ensurepip, venv' 2>/dev/null; then return; fi
    version="$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
    can_apt || fail "$python has no venv module. Install it with: apt-get install python$version-venv"
    say "installing python$version-venv …"
    quietly apt_install "python$version-venv"
    "$python" -c 'import ensurepip, venv' 2>/dev/null || fail "$python still has no venv module"
}

# What the installation depends on; the folder too, since a virtual environment cannot be moved.
fingerprint() {
    { pwd && .venv/bin/python -V && cat pyproject.toml constraints.txt; } 2>/dev/null | cksum
}

is_installed() { [ -f ".venv/installed-for-$1" ] && [ "$(cat ".venv/installed-for-$1")" = "$(fingerprint)" ]; }

install_python_packages() {
    local extras=local python
    if is_installed "$purpose"; then return; fi
    python="$(find_python)"
    if ! .venv/bin/python -c 'import pip' 2>/dev/null || [ "$(cat .venv/folder 2>/dev/null)" != "$PWD" ]; then
        ensure_venv_module "$python"
        say "making .venv with $("$python" -V) …"
        quietly "$python" -m venv --clear .venv
        pwd >.venv/folder
    fi
    if [ "$purpose" = test ]; then extras=local,dev,docs; fi
    say "installing Python packages (a minute or so the first time) …"
    quietly .venv/bin/python -m pip install --disable-pip-version-check --no-input \
        --only-binary=:all: -c constraints.txt -e ".[$extras]"
    fingerprint >.venv/installed-for-run
    if [ "$purpose" = test ]; then fingerprint >.venv/installed-for-test; fi
}

# --- Mosquitto -------------------------------------------------------------------------------------------------------

# /usr/sbin is not on a normal user's PATH in Debian.
has_mosquitto() {
    PATH="$PATH:/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin:/usr/local/opt/mosquitto/sbin" \
        command -v mosquitto >/dev/null
}

has_docker() { command -v docker >/dev/null && docker info >/dev/null 2>&1; }

remove_policy() {
    if [ -n "$made_policy" ]; then as_root rm -f "$policy"; fi
    made_policy=""
}

# The package would start its own broker on 1883, now and at every boot.
forbid_service_start() {
    if [ -e "$policy" ]; then return; fi
    trap remove_policy EXIT
    made_policy=yes
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
}

disable_service() {
    if [ -d /run/systemd/system ]; then
        as_root systemctl disable --now mosquitto >>"$log" 2>&1 || true
    fi
}

install_mosquitto() {
    if has_mosquitto; then return; fi
    if can_apt; then
        say "installing Mosquitto …"
        forbid_service_start
        quietly apt_install mosquitto mosquitto-clients
        disable_service
        remove_policy
    fi
    if has_mosquitto; then return; fi
    if [ "$purpose" = test ] && [ "${MILEPOST_TEST_SERVICES:-docker}" = docker ] && has_docker; then return; fi
    fail "Mosquitto is missing, and it cannot be installed from here. Install it with
  apt-get install mosquitto mosquitto-clients && systemctl disable --now mosquitto     (Debian, Ubuntu)
  dnf install mosquitto                                                               (Fedora)
  brew install mosquitto                                                              (macOS)
and do this again."
}

# --- What lays out PDFs ----------------------------------------------------------------------------------------------

pdf_packages=(libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fonts-liberation fonts-dejavu-core)

# Debian's machines may have no font at all: Liberation is what reports are set in, DejaVu has other alphabets.
has_pdf_libraries() {
    if can_apt; then dpkg -s "${pdf_packages[@]}" >/dev/null 2>&1; else .venv/bin/python -c 'import weasyprint' 2>/dev/null; fi
}

install_pdf_libraries() {
    if has_pdf_libraries; then return; fi
    if can_apt; then
        say "installing Pango and fonts …"
        quietly apt_install "${pdf_packages[@]}"
    fi
    if .venv/bin/python -c 'import weasyprint' 2>/dev/null; then return; fi
    say "reports cannot be made as PDF (all else works): Pango is missing, and it cannot be installed from here.
  apt-get install ${pdf_packages[*]}     (Debian, Ubuntu)
  dnf install pango liberation-sans-fonts dejavu-sans-fonts     (Fedora)
  brew install pango font-liberation     (macOS)"
    if [ "$purpose" = test ]; then fail "the tests need it"; fi
}

# --- A browser for the tests -----------------------------------------------------------------------------------------

has_chromium() { command -v chromium >/dev/null || command -v chromium-browser >/dev/null; }

# Only the tests of pages need it, and they say that they were skipped.
install_chromium() {
    if [ "$purpose" != test ] || has_chromium || ! can_apt; then return; fi
    say "installing Chromium …"
    quietly apt_install chromium
}

case "$purpose" in
run | test) ;;
*) fail "usage: scripts/setup.sh run|test" ;;
esac
install_mosquitto
install_python_packages
install_pdf_libraries
install_chromium
rm -f "$log"
