#!/usr/bin/env bash
# A smoke test on a real Vast.ai account: the cheapest card that serves a small model, some minutes, $1 at most. It
# ends with everything destroyed, also when it fails or is interrupted. Not run in CI.
#
# VAST_API_KEY=... examples/smoke_vast.sh
. "$(dirname "$0")/smoke.sh"
: "${VAST_API_KEY:?expected the key of the account that pays (cloud.vast.ai, Account, API keys)}"

in_folder_of vast

# Half a dollar an hour for an hour at most, held to by the machine's own switch too; a dollar in all.
cat >thunder.toml <<'END'
[model]
name = "qwen3-0.6b"
[engine]
max_model_len = 4096
[budget]
usd_per_hour = 0.5
max_hours = 1
max_total_usd = 1.0
[markets]
providers = ["vast"]
interruptible = "never"
min_reliability = 0.98
[leases]
deadman_s = 1800
[serve]
listen = "127.0.0.1:8123"
END

smoke vast 0.5 http://127.0.0.1:8123 "cloud.vast.ai, Instances, for labels"
