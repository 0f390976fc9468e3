#!/usr/bin/env bash
# Is there room for what `make demo` installs and runs? Sizes are of both environments as installed, in GB, rounded up.
set -euo pipefail
cd "$(dirname "$0")/.."

need=1 # the run itself, and what is unpacked meanwhile
[ -f .venv/.lock-installed ] || need=$((need + 2))
[ -f .venv-engine/.lock-installed ] || need=$((need + 4))
free=$(df -Pk . | awk 'NR == 2 { print int($4 * 1024 / 1e9) }')
if [ "$free" -lt "$need" ]; then
  echo "make demo needs $need GB of disk in $PWD, and $free GB are free. Free some, or clone to a larger disk." >&2
  exit 1
fi
