#!/usr/bin/env bash
# A smoke test on a real AWS account: the cheapest GPU instance that serves a small model, some minutes, $1 at most. It
# ends with everything terminated, also when it fails or is interrupted. Not run in CI.
#
# AWS_PROFILE=... THUNDER_SMOKE_REGION=us-east-1 examples/smoke_aws.sh
#
# The account needs the policy of docs/guides/aws.md, and a quota of 4 vCPUs or more for "Running On-Demand G and VT
# instances" in that region (a new account has none).
. "$(dirname "$0")/smoke.sh"
region=${THUNDER_SMOKE_REGION:-${AWS_REGION:-us-east-1}}

in_folder_of aws

# Some $0.85 an hour for an hour at most, held to by the machine's own switch too; a dollar in all.
cat >thunder.toml <<'END'
[model]
name = "qwen3-0.6b"
[engine]
max_model_len = 4096
[budget]
usd_per_hour = 0.95
max_hours = 1
max_total_usd = 1.0
[markets]
providers = ["aws"]
regions = ["us-east-1"]
interruptible = "never"
[leases]
deadman_s = 1800
[serve]
listen = "127.0.0.1:8124"
END
sed -i.before "s/us-east-1/$region/" thunder.toml

smoke aws 0.95 http://127.0.0.1:8124 "instances in $region with the tag thunder:owner"
