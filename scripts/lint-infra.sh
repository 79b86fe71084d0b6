#!/usr/bin/env bash
# What is deployed, before it is: templates, the state machine, and that nothing is let in from everywhere.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh sam asl checkov
sam=.testbench/sam/bin
"$sam/cfn-lint" template.yaml infra/region.yaml
# Which services are here depends on the region: the oldest has all of them.
SAM_CLI_TELEMETRY=0 "$sam/sam" validate --lint --template template.yaml --region us-east-1 >/dev/null
# As the template substitutes it.
machine=.testbench/transfer.asl.json
sed -E 's/\$\{Partition\}/aws/g; s/\$\{([A-Za-z]+)\}/arn:aws:lambda:us-east-1:123456789012:function:\1/g' \
  infra/statemachines/transfer.asl.json >"$machine"
.testbench/asl/node_modules/.bin/asl-validator --silent --json-path "$machine"
# Exceptions and their reasons are in infra/checkov.yaml.
.testbench/checkov/bin/checkov --file template.yaml infra/region.yaml --config-file infra/checkov.yaml
if grep -nE 'CidrIp(v6)?: *"?(0\.0\.0\.0/0|::/0)' template.yaml infra/*.yaml; then
  echo "lint: something is let in from everywhere" >&2
  exit 1
fi
