#!/usr/bin/env python3
"""Writes docs/IAM.md from the template: every action of every role, what it is allowed on, and what needs it.

    iam_doc.py           writes it
    iam_doc.py --check   says whether it is as it would be written

Run by a Python that has PyYAML. An action without a reason here fails, and so does a reason for nothing.
"""

import pathlib
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "IAM.md"

# What needs an action, by policy or role, then by action; "*" is every other action of a statement, by its Sid.
WHY = {
    "StepPolicy": {
        "dynamodb:GetItem": "every step reads the submission and the transfer's row",
        "dynamodb:Query": "groups to claim, ranges to list, live attempts, progress",
        "dynamodb:PutItem": "rows that are made: transfers, groups, dataplanes, dirty keys",
        "dynamodb:UpdateItem": "leases, counters, what became of a row; in transactions, too",
        "dynamodb:DeleteItem": "ranges that were listed, secrets and rows of what has ended",
        "dynamodb:BatchWriteItem": "removing rows of what ended long ago",
        "dynamodb:ConditionCheckItem": "that a lease holds, in the transaction that writes under it",
        "s3:GetObject": "manifests, receipts and outcomes that rows point to",
        "s3:PutObject": "writing them",
        "s3:DeleteObject": "those of a step that was not recorded",
        "s3:ListBucket": "telling a segment that is not there from one that may not be read",
        "kms:Decrypt": "reading rows and segments",
        "kms:GenerateDataKey": "writing rows and segments",
    },
    "DataPolicy": {
        "kms:Decrypt": "objects, and secrets, that are under a key of their owner",
        "kms:GenerateDataKey": "writing objects that are to be under such a key",
        "s3:ListBucket": "listing both sides; the check of a side before anything is spent",
        "s3:GetBucketLocation": "in which region machines are launched",
        "s3:ListBucketMultipartUploads": "uploads of ours that nobody knows of any more",
        "s3:GetObject": "reading the source; looking at a destination's objects",
        "s3:GetObjectVersion": "reading the version that was pinned",
        "s3:GetObjectTagging": "tags of objects that have some",
        "s3:GetObjectVersionTagging": "the same, of the version that was pinned",
        "s3:GetObjectAttributes": "checksums that the service keeps",
        "s3:PutObject": "writing objects and parts, completing uploads",
        "s3:PutObjectTagging": "writing objects with tags",
        "s3:AbortMultipartUpload": "cancelling, and cleaning up what was begun and not ended",
        "s3:ListMultipartUploadParts": "going on with an upload",
        "secretsmanager:GetSecretValue": "keys of sides that are no AWS, where a transfer names their secret",
        "sts:AssumeRole": "sides of other accounts, with a session for that side's prefix alone",
    },
    "DeletePolicy": {"s3:DeleteObject": "deletions of a sync with `--delete`, or of a trigger with it"},
    "LookPolicy": {
        "ec2:DescribeInstances": "which machines there are: before launching, when tearing down, when reaping",
        "ec2:DescribeInstanceTypes": "vCPUs of a type, which count against the quota",
        "ec2:DescribeSecurityGroups": "the group of a dataplane",
        "ec2:DescribeSecurityGroupRules": "whom it lets in now",
        "servicequotas:GetServiceQuota": "whether the machines fit into the account's quotas",
    },
    "LaunchPolicy": {
        "ec2:RunInstances": "launching gateways, with the stack's tag, and with groups of the stack only",
        "ec2:CreateSecurityGroup": "a group for each dataplane",
        "ec2:CreateTags": "tags of what is being made, and of nothing else",
        "ec2:AuthorizeSecurityGroupIngress": "letting the members of a dataplane reach each other",
        "ssm:GetParameters": "the newest image of Amazon Linux",
        "iam:CreateServiceLinkedRole": "the first spot machine of an account",
        "iam:PassRole": "gateways have their role, and no other",
    },
    "EndPolicy": {
        "ec2:TerminateInstances": "ending gateways of this stack: those that are lost, too",
        "ec2:RevokeSecurityGroupIngress": "who has gone is not let in any more",
        "ec2:DeleteSecurityGroup": "the end of a dataplane",
    },
    "ProvisionFunction": {
        "kms:Encrypt": "wrapping a transfer's secrets, bound to its id",
        "kms:Decrypt": "unwrapping them, to tell gateways",
    },
    "WatchFunction": {
        "states:SendTaskSuccess": "all is copied",
        "states:SendTaskFailure": "gateways are lost, or the attempt fails",
        "states:SendTaskHeartbeat": "it goes on",
    },
    "ReapFunction": {
        "states:StartExecution": "an attempt that was submitted and never began",
        "states:DescribeExecution": "whether the execution of a live attempt runs",
    },
    "TriggerFunction": {
        "states:StartExecution": "a schedule's time has come; an object is too large for a function",
        "kms:Decrypt": "events of objects are encrypted in their queue",
    },
    "GatewayRole": {
        "dynamodb:GetItem": "the transfers it works for; its own row",
        "dynamodb:Query": "groups to claim",
        "dynamodb:PutItem": "uploads, signs of life; its own row",
        "dynamodb:UpdateItem": "leases and counters; its own row",
        "dynamodb:DeleteItem": "what it gives back",
        "dynamodb:ConditionCheckItem": "that its lease holds",
        "s3:GetObject": "manifests; the gateway itself, when it boots",
        "s3:PutObject": "receipts and outcomes; what it says, under logs/",
        "kms:Decrypt": "reading rows and segments",
        "kms:GenerateDataKey": "writing them",
    },
    "ScheduleRole": {"lambda:InvokeFunction": "a schedule's time has come"},
    "SubmitPolicy": {
        "dynamodb:GetItem": "how a transfer stands",
        "dynamodb:PutItem": "submitting, and wanting something of a transfer",
        "dynamodb:Query": "which transfers there are; progress",
        "states:StartExecution": "beginning an attempt",
        "cloudformation:DescribeStacks": "where the deployment's parts are",
        "s3:GetObject": "`report`; `logs` of gateways",
        "s3:ListBucket": "`logs`: which there are",
        "states:GetExecutionHistory": "`logs` of the workflow",
        "kms:Decrypt": "reading rows and segments",
        "kms:GenerateDataKey": "writing rows",
    },
    "JoinPolicy": {
        "dynamodb:GetItem": "the transfer; the dataplane; what this machine is to do",
        "dynamodb:Query": "groups to claim",
        "dynamodb:PutItem": "what was listed, uploads, signs of life; what it says of itself",
        "dynamodb:UpdateItem": "leases and counters; what it says of itself",
        "dynamodb:DeleteItem": "what it gives back",
        "dynamodb:ConditionCheckItem": "that its lease holds",
        "s3:GetObject": "manifests",
        "s3:PutObject": "manifests, receipts and outcomes",
    },
    "OperatePolicy": {
        "dynamodb:GetItem": "one dataplane, or what uses it",
        "dynamodb:PutItem": "ending one; pausing what uses it",
        "dynamodb:Query": "`dataplane list`",
        "states:StartExecution": "`dataplane create`",
        "states:DescribeExecution": "whether its machines are there",
        "cloudformation:DescribeStacks": "where the deployment's parts are",
        "kms:Decrypt": "reading rows",
        "kms:GenerateDataKey": "writing rows",
    },
    "SchedulePolicy": {
        "scheduler:CreateSchedule": "`schedule add`",
        "scheduler:UpdateSchedule": "`schedule pause` and `resume`",
        "scheduler:GetSchedule": "whether it is paused",
        "scheduler:DeleteSchedule": "`schedule remove`",
        "iam:PassRole": "schedules have their role",
        "dynamodb:GetItem": "one schedule or rule",
        "dynamodb:PutItem": "adding and pausing",
        "dynamodb:DeleteItem": "removing",
        "dynamodb:Query": "listing",
        "cloudformation:DescribeStacks": "where the deployment's parts are",
        "kms:Decrypt": "reading rows",
        "kms:GenerateDataKey": "writing rows",
    },
}

HEAD = """# Who may do what

Written by `scripts/iam_doc.py` from `template.yaml`; `make lint` sees that it is true. Each function has a role of its
own, made of the policies below and what is said at the function.

"""


class Loader(yaml.SafeLoader):
    """YAML with the short forms of CloudFormation's functions."""


def short(loader: Loader, suffix: str, node: yaml.Node) -> object:
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {f"!{suffix}": value}


Loader.add_multi_constructor("!", short)


def words(value: object) -> list[str]:
    """A resource as people read it."""
    if isinstance(value, list):
        return [word for each in value for word in words(each)]
    if isinstance(value, str):
        return [f"`{value}`"]
    ((name, what),) = value.items()
    if name == "!If":
        return words(what[1])
    if name == "!Sub":
        return [f"`{what}`"]
    return [f"{what.removesuffix('.Arn')}"]


def listed(value: object) -> list:
    return value if isinstance(value, list) else [value]


def statements(resource: dict) -> list[dict]:
    """Those that a role or a function has of its own."""
    found = []
    for each in resource["Properties"].get("Policies", []):
        document = each.get("PolicyDocument", each) if isinstance(each, dict) else {}
        found += document.get("Statement", [])
    document = resource["Properties"].get("PolicyDocument", {})
    return [plain(each) for each in found + document.get("Statement", [])]


def plain(statement: dict) -> dict:
    """One that is there under a condition of the template says so."""
    if "!If" not in statement:
        return statement
    condition, there, _ = statement["!If"]
    return there | {"Condition": there.get("Condition", {}) | {condition: {"": True}}}


def table(name: str, resource: dict, missing: set, used: set) -> list[str]:
    lines = ["| Action | On | Only if | What needs it |", "| --- | --- | --- | --- |"]
    for statement in statements(resource):
        for action in listed(statement["Action"]):
            why = WHY.get(name, {}).get(action)
            if why is None:
                missing.add(f"{name} {action}")
            used.add((name, action))
            conditions = [f"{key} {test}".strip().replace("|", "/") for test, keys in statement.get("Condition", {}).items()
                          for key in keys]
            where = ", ".join(words(statement["Resource"]))
            lines.append(f"| `{action}` | {where} | {', '.join(conditions)} | {why} |")
    return lines if len(lines) > 2 else []


def page(template: dict) -> str:
    missing, used = set(), set()
    resources = template["Resources"]
    kinds = {"AWS::IAM::ManagedPolicy": "Policies", "AWS::Serverless::Function": "Functions",
             "AWS::IAM::Role": "Roles of machines and schedules"}
    lines = [HEAD.rstrip(), ""]
    for kind, title in kinds.items():
        lines += [f"## {title}", ""]
        for name, resource in resources.items():
            if resource["Type"] != kind:
                continue
            lines += [f"### {name}", "", resource["Properties"].get("Description", ""), ""]
            attached = resource["Properties"].get("Policies", []) if kind.endswith("Function") else []
            attached += resource["Properties"].get("ManagedPolicyArns", [])
            names = [word for each in attached if isinstance(each, dict) and set(each) & {"!Ref", "!Sub"}
                     for word in words(each)]
            if names:
                lines += [f"Has {', '.join(names)}.", ""]
            lines += [*table(name, resource, missing, used), ""]
    lines += ["## The state machine", "", "It may call the functions of its steps: Plan, List, Provision, Watch, "
              "Complete, Verify and Teardown."]
    unused = {(name, action) for name, actions in WHY.items() for action in actions} - used
    if missing or unused:
        sys.exit(f"iam_doc.py: no reason for {sorted(missing)}, reasons for nothing: {sorted(unused)}")
    text = "\n".join(lines) + "\n"
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text


def main() -> int:
    text = page(yaml.load((ROOT / "template.yaml").read_text(), Loader))
    if sys.argv[1:] == ["--check"]:
        if not PAGE.exists() or PAGE.read_text() != text:
            sys.exit("docs/IAM.md is not what the template says: run scripts/iam_doc.py")
    else:
        PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
