# Shared by the scripts beside it: installing packages of the system. To be sourced by a POSIX shell.

say() { printf '%s\n' "$*" >&2; }

# The command that installs a package, or nothing where the system's package manager is not known.
install_command() {
  if command -v apt-get >/dev/null 2>&1; then
    echo "apt-get install -y --no-install-recommends"
  elif command -v dnf >/dev/null 2>&1; then
    echo "dnf install -y"
  elif command -v zypper >/dev/null 2>&1; then
    echo "zypper --non-interactive install"
  elif command -v apk >/dev/null 2>&1; then
    echo "apk add"
  elif command -v pacman >/dev/null 2>&1; then
    echo "pacman -S --noconfirm --needed"
  fi
}

# ask QUESTION: whether the answer at the terminal is yes; no terminal, no answer or anything else is no.
ask() {
  [ -t 0 ] || return 1
  printf '%s [y/N] ' "$1" >&2
  read -r answer || return 1
  case $answer in [yY] | [yY][eE][sS]) return 0 ;; *) return 1 ;; esac
}

# install_packages WHY PACKAGE…: as root at once, saying so; else with sudo, once it was agreed to. Fails where that can't be.
install_packages() {
  why=$1
  shift
  how=$(install_command)
  if [ -z "$how" ]; then
    say "$why: $* can't be installed from here (no apt-get, dnf, zypper, apk or pacman). Please install it."
    return 1
  fi
  if [ "$(id -u)" -eq 0 ]; then
    say "$why: running $how $*"
    as_root=
  elif command -v sudo >/dev/null 2>&1 && ask "$why. Run: sudo $how $*?"; then
    as_root=sudo
  else
    say "$why. Not installed; to install it, run as root: $how $*"
    return 1
  fi
  # shellcheck disable=SC2086
  if ! $as_root $how "$@" >&2; then
    case $how in apt-get*) ;; *) return 1 ;; esac
    # A fresh Debian or Ubuntu has no package lists yet.
    $as_root apt-get update >&2 && $as_root $how "$@" >&2
  fi
}
