#!/usr/bin/env bash
# `make demo`: the whole life of a deployment on this machine. Nothing is rented and nothing is left behind.
set -euo pipefail
cd "$(dirname "$0")/.."

# A short folder of its own, so that the demo neither sees nor touches a real deployment.
THUNDER_HOME=$(mktemp -d "${TMPDIR:-/tmp}/thunder-demo.XXXXXX")
export THUNDER_HOME
thunderctl=.venv/bin/thunderctl
spec=examples/local.toml

leave() {
  code=$?
  trap - EXIT INT TERM
  if $thunderctl down --yes >/dev/null 2>&1; then
    rm -rf "$THUNDER_HOME"
  else
    echo "Something still runs. Its records are kept; run: THUNDER_HOME=$THUNDER_HOME $thunderctl down --yes" >&2
  fi
  exit $code
}
trap leave EXIT INT TERM

began=$SECONDS
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '$ thunderctl %s\n' "$*"; $thunderctl "$@"; }

say "1. A plan for \$14 an hour, from the dated market prices in the package. Planning never spends."
run plan --budget 14

say "2. The same planner for this machine: its CPU cores are the market, at a notional price, and the shipped
   5-million-parameter model is what is served. It comes out as separate prefill and decode replicas."
run plan --spec $spec --out "$THUNDER_HOME/plan.json"

say "3. Up: three machines are leased (folders and processes here), prepared, and a stock vLLM engine is started on
   each. The slow part is vLLM starting; you see each step end."
run up "$THUNDER_HOME/plan.json" --spec $spec --yes

endpoint=$($thunderctl status --json | .venv/bin/python -c 'import json, sys; print(json.load(sys.stdin)["endpoint"])')
say "4. A streamed chat request. One engine computes the prompt; its KV cache crosses, encrypted, to another, which
   writes the answer. (The model is tiny and was trained on Python's own source: expect code, not wisdom.)"
printf '$ python examples/chat.py %s "def read_lines(path):"\n' "$endpoint"
.venv/bin/python examples/chat.py "$endpoint" "def read_lines(path):"

say "5. The workload changes: shorter prompts and longer answers (examples/writing.csv). A rebalance flips a phase while the
   engines run on: no weights are loaded again, and no request is lost."
run rebalance --workload examples/writing.csv --yes

say "6. The same request again, over the new routes."
.venv/bin/python examples/chat.py "$endpoint" "def read_lines(path):"

say "7. What it looks like now. The epoch is the number of the routes in force."
run status --once

say "8. Down: everything is stopped and released, and the provider's own listing proves it gone."
run down --yes
run leases

say "That was the whole life of a deployment, in $((SECONDS - began)) seconds."
