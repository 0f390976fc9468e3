#!/usr/bin/env bash
# Make an environment from its committed lock: install.sh control | engine | benchmarks | peers
# `benchmarks` is none of its own: a folder beside the control environment, which the benchmarks add to its path.
# Safe to run again: it does nothing when the lock has not changed since the environment was made.
set -euo pipefail
cd "$(dirname "$0")/.."
which=${1:?usage: install.sh control | engine | benchmarks | peers}
python=${PYTHON:-python3.11}

say() { printf '%s\n' "$*" >&2; }
command -v "$python" >/dev/null || { say "$python was not found. Install Python 3.11, or name it: make setup PYTHON=/path/to/python3.11"; exit 1; }

case "$which" in
  control) env=.venv lock=requirements/control.txt ;;
  engine) env=.venv-engine lock=requirements/engine.txt ;;
  benchmarks) env=.venv-benchmarks lock=requirements/benchmarks.txt ;;
  peers) env=.venv-peers lock=requirements/peers.txt ;;
  *) say "usage: install.sh control | engine | benchmarks | peers"; exit 2 ;;
esac
stamp=$env/.lock-installed
want=$(cat requirements/bootstrap.txt "$lock" pyproject.toml | sha256sum)
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && exit 0

make_venv() {
  "$python" -m venv "$1" || { say "$python can't make virtual environments. On Debian and Ubuntu: apt-get install python3.11-venv"; exit 1; }
}

# uv lives in the control environment, installed by pip from its own hashed lock. It reads neither pip's configuration
# nor PIP_*, so what pip was told about where packages are is handed on.
[ -x .venv/bin/python ] || make_venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
uv=.venv/bin/uv
from_pip() { .venv/bin/python -m pip config get "global.$1" 2>/dev/null || true; }
export UV_FIND_LINKS=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-$(from_pip find-links)}}
index=${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-$(from_pip index-url)}}
[ -n "$index" ] && export UV_DEFAULT_INDEX=$index

say "Installing the $which environment into $env (the first time downloads it) ..."
if [ "$which" = control ]; then
  "$uv" pip install --quiet --python .venv --no-deps --require-hashes --compile-bytecode -r "$lock"
  "$uv" pip install --quiet --python .venv --no-deps --no-build-isolation --editable .
elif [ "$which" = benchmarks ]; then
  "$uv" pip install --quiet --python .venv --target "$env" --no-deps --require-hashes -r "$lock"
elif [ "$which" = peers ]; then
  [ -x .venv-peers/bin/python ] || make_venv .venv-peers
  "$uv" pip install --quiet --python .venv-peers --no-deps --require-hashes --compile-bytecode -r "$lock"
else
  [ -x .venv-engine/bin/python ] || make_venv .venv-engine
  # The CPU build of torch is on PyTorch's own index, unless a local folder has it.
  backend=(--torch-backend cpu)
  for folder in $UV_FIND_LINKS; do ls "$folder"/torch-*+cpu-*.whl >/dev/null 2>&1 && backend=(); done
  "$uv" pip install --quiet --python .venv-engine --no-deps --require-hashes --compile-bytecode "${backend[@]}" -r "$lock"
fi
printf '%s' "$want" >"$stamp"
