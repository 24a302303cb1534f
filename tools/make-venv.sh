#!/bin/sh
# make-venv.sh REQUIREMENTS: bring .venv up to date with a lock file; made with the newest Python from 3.11 on that is found.
set -e
. "$(dirname "$0")/system.sh"
cd "$(dirname "$0")/.."
requirements=$1

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
  for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3.14 python3; do
    if command -v "$candidate" >/dev/null 2>&1 && is_new_enough "$candidate"; then
      command -v "$candidate"
      return 0
    fi
  done
  say "Python 3.11 or later is needed, and none was found. Install it, or name it: make run PYTHON=/path/to/python3.11"
  return 1
}

command -v git >/dev/null 2>&1 || {
  say "git is needed, and not installed: please install it."
  exit 1
}
if [ ! -x .venv/bin/python ] || ! is_new_enough .venv/bin/python || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
  python=$(find_python)
  if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    # Debian and Ubuntu ship Python without what makes virtual environments.
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    install_packages "$python can't make virtual environments" "python$version-venv" || exit 1
  fi
  say "Making .venv with $("$python" --version)"
  rm -rf .venv
  "$python" -m venv .venv
fi
say "Installing the Python packages of $requirements into .venv"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r "$requirements"
