#!/usr/bin/env python3
"""Walks through the state machine of a transfer with functions that answer as they are told.

    walk.py ENDPOINT < plans.json

Plans are by the name of a transfer (see scripts/step_stub.py). For each it prints how the execution ended, with
which error, what was asked of which function in which order, and how many events its history has. Waits and
back-offs are cut to a second.
"""

import io
import json
import pathlib
import re
import sys
import tempfile
import time
import zipfile

import boto3

ROOT = pathlib.Path(__file__).resolve().parents[1]
FUNCTIONS = ("Plan", "List", "Provision", "Watch", "Complete", "Verify", "Teardown")
ROLE = "arn:aws:iam::000000000000:role/none"
# Seconds that an execution may take.
PATIENCE = 60


def stub() -> bytes:
    """The code of all functions, as Lambda takes it."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        entry = zipfile.ZipInfo("bootstrap")
        entry.external_attr = 0o755 << 16
        packed.writestr(entry, (ROOT / "scripts/step_stub.py").read_text())
    return archive.getvalue()


def definition(arns: dict[str, str]) -> str:
    text = (ROOT / "infra/statemachines/transfer.asl.json").read_text()
    text = re.sub(r"\$\{(\w+)\}", lambda name: arns[name[1]], text)
    return re.sub(r'"(Seconds|IntervalSeconds|MaxDelaySeconds)": \d+', r'"\1": 1', text)


def walk(states, machine: str, name: str, folder: pathlib.Path) -> dict:
    given = json.dumps({"transfer": name, "attempt": 1})
    started = states.start_execution(stateMachineArn=machine, name=name, input=given)
    execution, end = started["executionArn"], time.monotonic() + PATIENCE
    while (found := states.describe_execution(executionArn=execution))["status"] == "RUNNING":
        if time.monotonic() > end:
            break
        time.sleep(0.1)
    history = states.get_execution_history(executionArn=execution, maxResults=1000)
    calls = [json.loads(line) for line in (folder / "calls").read_text().splitlines()]
    return {"status": found["status"], "error": found.get("error"), "cause": found.get("cause"),
            "calls": calls, "events": len(history["events"])}


def main() -> int:
    endpoint, plans = sys.argv[1], json.load(sys.stdin)
    account = {"endpoint_url": endpoint, "region_name": "us-east-1",
               "aws_access_key_id": "test", "aws_secret_access_key": "test"}
    functions, states = boto3.client("lambda", **account), boto3.client("stepfunctions", **account)
    with tempfile.TemporaryDirectory() as walks:
        own, code, arns = f"{time.time_ns():x}", stub(), {"Partition": "aws"}
        for name in FUNCTIONS:
            variables = {"FUNCTION": name.lower(), "WALKS": walks, "STATES": endpoint}
            made = functions.create_function(
                FunctionName=f"{name}-{own}", Runtime="provided.al2023", Handler="bootstrap",
                Role=ROLE, Code={"ZipFile": code}, Timeout=30,
                Environment={"Variables": variables})
            arns[f"{name}Function"] = made["FunctionArn"]
        machine = states.create_state_machine(
            name=f"transfer-{own}", definition=definition(arns), roleArn=ROLE)
        walked = {}
        for name, plan in plans.items():
            folder = pathlib.Path(walks) / name
            folder.mkdir()
            (folder / "plan.json").write_text(json.dumps(plan))
            walked[name] = walk(states, machine["stateMachineArn"], name, folder)
        for name in FUNCTIONS:
            functions.delete_function(FunctionName=f"{name}-{own}")
        states.delete_state_machine(stateMachineArn=machine["stateMachineArn"])
    json.dump(walked, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
