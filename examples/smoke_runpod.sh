#!/usr/bin/env bash
# A smoke test on a real RunPod account: the cheapest card that serves a small model, some minutes, $1 at most. It
# ends with everything destroyed, also when it fails or is interrupted. Not run in CI.
#
# RUNPOD_API_KEY=... examples/smoke_runpod.sh
. "$(dirname "$0")/smoke.sh"
: "${RUNPOD_API_KEY:?expected the key of the account that pays (console.runpod.io, Settings, API keys)}"

in_folder_of runpod

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
providers = ["runpod"]
interruptible = "never"
[leases]
deadman_s = 1800
[serve]
listen = "127.0.0.1:8123"
END

smoke runpod 0.5 http://127.0.0.1:8123 "console.runpod.io, Pods, for names"
