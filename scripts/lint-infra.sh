#!/usr/bin/env bash
# What is deployed, before it is: templates, the state machine, and that nothing is let in from everywhere.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh sam asl checkov
sam=.testbench/sam/bin
"$sam/cfn-lint" template.yaml infra/region.yaml
# Which services are here depends on the region: the oldest has all of them.
SAM_CLI_TELEMETRY=0 "$sam/sam" validate --lint --template template.yaml --region us-east-1 >/dev/null
# As the template substitutes them.
for machine in transfer dataplane; do
  sed -E 's/\$\{Partition\}/aws/g; s/\$\{([A-Za-z]+)\}/arn:aws:lambda:us-east-1:123456789012:function:\1/g' \
    "infra/statemachines/$machine.asl.json" >".testbench/$machine.asl.json"
  .testbench/asl/node_modules/.bin/asl-validator --silent --json-path ".testbench/$machine.asl.json"
done
# Exceptions and their reasons are in infra/checkov.yaml.
.testbench/checkov/bin/checkov --file template.yaml infra/region.yaml --config-file infra/checkov.yaml
if grep -nE 'CidrIp(v6)?: *"?(0\.0\.0\.0/0|::/0)' template.yaml infra/*.yaml; then
  echo "lint: something is let in from everywhere" >&2
  exit 1
fi
# What docs/IAM.md says of it.
"$sam/python" scripts/iam_doc.py --check
# Nothing is billed by the hour: what each of these costs is in docs/DEPLOYMENT.md.
known='AWS::(CloudWatch::(Alarm|Dashboard)|DynamoDB::Table|Events::Rule|IAM::(InstanceProfile|ManagedPolicy|Role)|KMS::Key'
known+='|EC2::(InternetGateway|Route|RouteTable|Subnet|SubnetRouteTableAssociation|VPC|VPCEndpoint|VPCGatewayAttachment)'
known+='|Logs::LogGroup|S3::(Bucket|BucketPolicy)|SNS::(Subscription|Topic)|SQS::(Queue|QueuePolicy)'
known+='|Scheduler::ScheduleGroup|Serverless::(Function|StateMachine))'
if sed -nE 's/^    Type: (AWS::.*)$/\1/p' template.yaml infra/region.yaml | grep -vxE "$known" ||
    grep -nE 'VpcEndpointType: *Interface|ProvisionedConcurrency|BillingMode: *PROVISIONED' template.yaml infra/region.yaml; then
  echo "lint: is that billed by the hour? See docs/DEPLOYMENT.md" >&2
  exit 1
fi
# What `skyhaul doctor` compares with.
version=$(sed -nE 's/^version = "(.*)"$/\1/p' Cargo.toml | head -1)
if ! grep -qF "Version: {Value: $version," template.yaml; then
  echo "lint: template.yaml is not of version $version" >&2
  exit 1
fi
