# What the smoke tests of real accounts share. Sourced by them: `in_folder_of PROVIDER`, then a thunder.toml is written,
# then `smoke PROVIDER MAX_USD_PER_HOUR ENDPOINT WHERE`, where WHERE tells people where to look for what may be left.
set -euo pipefail

in_folder_of() {
  # Kept when something is left: what is rented is found again by the owner id in there.
  THUNDER_HOME=${THUNDER_SMOKE_HOME:-$HOME/.thunder-smoke-$1}
  export THUNDER_HOME
  mkdir -p "$THUNDER_HOME"
  cd "$THUNDER_HOME"
}

leave() {
  code=$?
  trap - EXIT INT TERM
  for _ in 1 2 3 4 5; do
    if thunderctl down --yes && thunderctl gc; then
      thunderctl leases --report
      echo "Nothing is left. State of this test: $THUNDER_HOME"
      exit $code
    fi
    sleep "${THUNDER_SMOKE_PAUSE_S:-30}"
  done
  echo "SOMETHING MAY STILL BILL. Run: THUNDER_HOME=$THUNDER_HOME thunderctl down --yes" >&2
  echo "and look at $where, owner $(cat owner-id)." >&2
  exit 1
}

smoke() {
  provider=$1 most_usd_per_hour=$2 endpoint=$3 where=$4
  trap leave EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  thunderctl offers --provider "$provider" --max-usd-per-hour "$most_usd_per_hour"
  thunderctl plan --out plan.json
  thunderctl up plan.json --yes
  thunderctl status --once
  curl -fsS -m 120 "$endpoint/v1/completions" -H 'Content-Type: application/json' \
    -d '{"model": "qwen3-0.6b", "prompt": "The capital of France is", "max_tokens": 8}'
  echo
  thunderctl leases
}
