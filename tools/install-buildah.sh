#!/bin/sh
# Install what the local backend builds with, where it is missing: buildah, and for users other than root newuidmap.
# Never fails: without it the portal runs, and says that builds wait.
. "$(dirname "$0")/system.sh"

[ "$(uname -s)" = Linux ] || {
  say "Builds on this machine need Linux; the portal starts, builds wait. Kubernetes can build instead: see docs/configuration.md"
  exit 0
}
if ! command -v buildah >/dev/null 2>&1; then
  install_packages "Images are built with buildah, which is not installed" buildah ||
    say "The portal starts without it; builds wait until buildah is there."
fi
if [ "$(id -u)" -ne 0 ] && ! command -v newuidmap >/dev/null 2>&1; then
  if command -v apt-get >/dev/null 2>&1; then package=uidmap; else package=shadow-utils; fi
  install_packages "Building without root needs newuidmap, which is not installed" "$package" ||
    say "The portal starts without it; builds wait until newuidmap is there."
fi
exit 0
