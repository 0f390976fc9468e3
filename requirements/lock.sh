#!/usr/bin/env bash
# Write the seven locks anew: hashed, and without the address of any index.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=${UV:-.venv/bin/uv}
common=(--generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header --python-version 3.11 --quiet "$@")
"$uv" pip compile requirements/bootstrap.in --universal "${common[@]}" -o requirements/bootstrap.txt
"$uv" pip compile pyproject.toml --extra aws --extra vast --extra postgres --extra tui --extra telemetry --extra dev --universal "${common[@]}" -o requirements/control.txt
"$uv" pip compile pyproject.toml --extra aws --extra vast --extra postgres --extra tui --extra telemetry --universal -c requirements/control.txt "${common[@]}" -o requirements/hosted.txt
"$uv" pip compile requirements/engine.in --override requirements/engine-overrides.txt --python-platform x86_64-manylinux_2_28 "${common[@]}" -o requirements/engine.txt
"$uv" pip compile requirements/engine-cuda.in --only-binary :all: --python-platform x86_64-manylinux_2_31 "${common[@]}" -o requirements/engine-cuda.txt
"$uv" pip compile requirements/benchmarks.in --universal "${common[@]}" -o requirements/benchmarks.txt
"$uv" pip compile requirements/peers.in --universal "${common[@]}" -o requirements/peers.txt
