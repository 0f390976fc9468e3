#!/usr/bin/env bash
# Install the Debian packages that some tests want. Those tests skip, naming the package, where it is missing.
set -euo pipefail
packages=(openssh-server iproute2 postgresql chromium fish zsh)

missing=()
for package in "${packages[@]}"; do
  dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
command -v apt-get >/dev/null || { echo "No apt-get here. Install by hand: ${missing[*]}" >&2; exit 1; }
as_root=(); [ "$(id -u)" -eq 0 ] || as_root=(sudo)
echo "Installing ${missing[*]} ..." >&2
# Nothing may start by itself: tests start their own servers.
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -q >/dev/null
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -q -y --no-install-recommends "${missing[@]}" >/dev/null
