#!/usr/bin/env python3
"""An account of AWS that is not one, with machines that run, in a network namespace of its own: for tests that
deploy the template and submit to it.

    cloud.py DIRECTORY [enforced]

With `enforced` everybody may do what their policies say, and no more; who holds the account's own keys may do all.
Run as root by the Python of the test servers. Makes a namespace with a bridge, to which this machine is connected,
too, and in it MiniStack (whose functions are processes, whose instances become namespaces by `hypervisor.py`) and two
S3 servers; prints one line of JSON when all of it serves:

    {"endpoint": MiniStack, "src": S3 server, "dst": S3 server, "machines": folder}

Then it answers requests, one a line of JSON:

    {"op": "left", "stack": NAME}    what a deployment has that lives: instances, groups, executions, secrets
    {"op": "invoke", "function": part of a function's name, "payload": ...}    its reply
    {"op": "fault", "machine": ID, "fault": "crash" or "interrupt"}    see hypervisor.py
    {"op": "events", "bucket": NAME}    the bucket of MiniStack sends its events to EventBridge
    {"op": "told_again", "stack": NAME, "bucket": NAME, "key": KEY}    an event of an object comes once more
    {"op": "queued", "stack": NAME}    how many events wait or are worked on, by queue
    {"op": "stop", "execution": ARN}    stops an execution
    {"op": "trouble", "faults": ...}    asks for faults of the services (ministack/faults.py), and for no others
    {"op": "troubles"}    how often each has happened since then
    {"op": "units"}    units that the tables have consumed (ministack/units.py)
    {"op": "memory", "command": [...]}    starts the benchmarks' S3 server; where it is
    {"op": "clocks", "seconds": N}    machines that boot from now on have clocks that are wrong by so much
    {"op": "user", "stack": NAME, "policies": [names of outputs]}    a user who has these policies: its keys
    {"op": "output", "stack": NAME, "name": NAME}    an output of the deployment
    {"op": "running", "stack": NAME}    the machines that run: id, address, dataplane
    {"op": "probe", "machine": ID, "script": PYTHON}    what a program on a machine says
    {"op": "secrets", "stack": NAME}    the secrets of transfers, unwrapped
    {"op": "wrapped", "stack": NAME, "transfer": ID}    the secrets of a transfer as they are kept, in base64
    {"op": "keep", "name": NAME, "text": TEXT}    a secret of Secrets Manager holds this from now on: its ARN
    {"op": "grep", "text": TEXT}    where TEXT is, of all that is kept in the account: rows, inputs, outputs, user data

Ends with its stdin; nothing of it survives.
"""

import base64
import collections
import json
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import boto3
import testbench
import zstandard
from testbench import ROOT

# One at a time: this machine is connected to it.
NAME, LINK = "skyhaul-cloud", "skyhaul-up"
# In the range of infra/region.yaml, where no instance gets them.
ADDRESS, OUTSIDE, PREFIX = "10.117.15.254", "10.117.15.253", 20
REGION = testbench.REGION
# Those of functions: the emulated account, by its number.
KEYS = ("000000000000", "test")
DEADLINE_S = 60
AUTH = "true" if sys.argv[2:] == ["enforced"] else "false"
MEMORY_PORT = 9500


def sh(command: str, check: bool = True) -> None:
    subprocess.run(command, shell=True, check=check, capture_output=not check)


class Inside:
    """Whatever runs in the namespace."""

    def command(self) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{NAME}", *super().command()]


class Weed(Inside, testbench.SeaweedFs):
    def __init__(self, name: str, directory: pathlib.Path, first: int) -> None:
        super().__init__(name, directory)
        self.first = first
        self.access_key, self.secret_key = KEYS

    def command(self) -> list[str]:
        command = super().command()
        ports = iter(range(self.first, self.first + 100))
        # Everything is free in a namespace of one's own.
        command = [f"{part.rpartition('=')[0]}={next(ports)}"
                   if part.startswith("-") and ".port" in part and not part.endswith("=0") else part
                   for part in command]
        (s3,) = (part.rpartition("=")[2] for part in command if part.startswith("-s3.port="))
        self.url = f"http://{ADDRESS}:{s3}"
        at = command.index("-ip=127.0.0.1")
        command[at:at + 1] = [f"-ip={ADDRESS}", "-ip.bind=0.0.0.0"]
        return command


class Cloud(Inside, testbench.MiniStack):
    def command(self) -> list[str]:
        command = super().command()
        self.port, self.url = 4566, f"http://{ADDRESS}:4566"
        return command

    @property
    def faults(self) -> pathlib.Path:
        return self.directory / "faults.json"

    @property
    def units(self) -> pathlib.Path:
        return self.directory / "units.json"

    def environment(self) -> dict[str, str]:
        own = {"BIND_HOST": "0.0.0.0", "AWS_ACCESS_KEY_ID": KEYS[0],
               "AWS_SECRET_ACCESS_KEY": KEYS[1], "FAULTS": str(self.faults),
               "UNITS": str(self.units), "AUTH": AUTH}
        return super().environment() | own


class Memory(Inside, testbench.Server):
    """An S3 server that makes up what it is asked for and keeps nothing (`bench/`)."""

    kind = "memory"

    def __init__(self, directory: pathlib.Path, command: list[str]) -> None:
        super().__init__("memory", directory)
        self.own = command
        self.access_key, self.secret_key = KEYS
        self.url = f"http://{ADDRESS}:{MEMORY_PORT}"

    def command(self) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{NAME}", *self.own, f"--listen=0.0.0.0:{MEMORY_PORT}"]


class Hypervisor(testbench.Server):
    endpoint_url = ""

    def command(self) -> list[str]:
        script = ROOT / "scripts" / "hypervisor.py"
        return ["nsenter", f"--net=/run/netns/{NAME}", sys.executable, str(script),
                self.endpoint_url, "br0", str(self.machines)]

    def environment(self) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": KEYS[0], "AWS_SECRET_ACCESS_KEY": KEYS[1], "AUTH": AUTH}

    @property
    def machines(self) -> pathlib.Path:
        return self.directory / "machines"

    def stop(self) -> None:
        # Gently: it removes the machines' namespaces.
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)


class Account:
    """What is in the account, as whoever may see all of it sees it."""

    def __init__(self, cloud: Cloud, machines: pathlib.Path, servers: list[testbench.Server]) -> None:
        self.cloud, self.machines, self.servers = cloud, machines, servers
        self.endpoint, self.faults = cloud.url, cloud.faults

    def client(self, service: str):
        return boto3.client(service, endpoint_url=self.endpoint, region_name=REGION,
                            aws_access_key_id=KEYS[0], aws_secret_access_key=KEYS[1])

    def _outputs(self, stack: str) -> dict[str, str]:
        (found,) = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
        return {one["OutputKey"]: one["OutputValue"] for one in found["Outputs"]}

    def _instances(self, stack: str) -> list[dict]:
        filters = [{"Name": "tag:skyhaul:stack", "Values": [stack]}]
        pages = self.client("ec2").get_paginator("describe_instances").paginate(Filters=filters)
        return [one for page in pages for each in page["Reservations"] for one in each["Instances"]]

    def _rows(self, table: str) -> list[dict]:
        pages = self.client("dynamodb").get_paginator("scan").paginate(TableName=table)
        return [row for page in pages for row in page["Items"]]

    def _executions(self, stack: str, **which: str) -> list[dict]:
        machine = self._outputs(stack)["StateMachine"]
        pages = self.client("stepfunctions").get_paginator("list_executions")
        pages = pages.paginate(stateMachineArn=machine, **which)
        return [one for page in pages for one in page["executions"]]

    def left(self, stack: str) -> dict[str, list[str]]:
        # In this order: where machines are seen, so is what was made before them.
        outputs, instances = self._outputs(stack), self._instances(stack)
        filters = [{"Name": "tag:skyhaul:dataplane", "Values": ["*"]}]
        groups = self.client("ec2").describe_security_groups(Filters=filters)["SecurityGroups"]
        rows = self._rows(outputs["ControlTable"])
        return {
            "instances": [one["InstanceId"] for one in instances
                          if one["State"]["Name"] not in ("terminated", "shutting-down")],
            "groups": [one["GroupId"] for one in groups],
            "executions": [one["executionArn"]
                           for one in self._executions(stack, statusFilter="RUNNING")],
            "secrets": [row["sk"]["S"] for row in rows if row["pk"]["S"] == "secrets"],
            "enrolments": [row["pk"]["S"] for row in rows if row["sk"]["S"] == "enrolment"],
            "live": [row["sk"]["S"] for row in rows if row["pk"]["S"] == "live"],
        }

    def invoke(self, function: str, payload: object) -> object:
        client = self.client("lambda")
        names = [one["FunctionName"] for page in client.get_paginator("list_functions").paginate()
                 for one in page["Functions"] if function in one["FunctionName"]]
        (name,) = names
        reply = client.invoke(FunctionName=name, Payload=json.dumps(payload))
        body = json.loads(reply["Payload"].read() or b"null")
        return {"failed": "FunctionError" in reply, "reply": body}

    def fault(self, machine: str, fault: str) -> None:
        (self.machines / f"{machine}.{fault}").touch()

    def events(self, bucket: str) -> None:
        self.client("s3").put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={"EventBridgeConfiguration": {}})

    def _queues(self, stack: str) -> dict[str, str]:
        told = self.client("cloudformation").describe_stack_resources(StackName=stack)
        return {one["LogicalResourceId"]: one["PhysicalResourceId"] for one in told["StackResources"]
                if one["ResourceType"] == "AWS::SQS::Queue"}

    def told_again(self, stack: str, bucket: str, key: str) -> None:
        # Without a number that orders it, it is worked on whatever came before.
        event = {"version": "0", "id": f"{time.time_ns():x}", "source": "aws.s3",
                 "detail-type": "Object Created",
                 "detail": {"bucket": {"name": bucket}, "object": {"key": key}}}
        self.client("sqs").send_message(QueueUrl=self._queues(stack)["Events"],
                                        MessageBody=json.dumps(event))

    def queued(self, stack: str) -> dict[str, int]:
        sqs, names = self.client("sqs"), ["ApproximateNumberOfMessages",
                                          "ApproximateNumberOfMessagesNotVisible",
                                          "ApproximateNumberOfMessagesDelayed"]
        found = {}
        for name, url in self._queues(stack).items():
            told = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
            found[name] = sum(int(told.get(each, 0)) for each in names)
        return found

    def stop(self, execution: str) -> None:
        self.client("stepfunctions").stop_execution(executionArn=execution)

    def trouble(self, faults: dict) -> None:
        new = self.faults.with_suffix(".new")
        new.write_text(json.dumps(faults))
        self.faults.with_suffix(".log").unlink(missing_ok=True)
        new.rename(self.faults)

    def troubles(self) -> dict[str, int]:
        log = self.faults.with_suffix(".log")
        lines = log.read_text().splitlines() if log.exists() else []
        return collections.Counter(line.split()[0] for line in lines)

    def units(self) -> dict[str, dict[str, float]]:
        return json.loads(self.cloud.units.read_text())

    def memory(self, command: list[str]) -> dict[str, str]:
        server = Memory(self.cloud.directory, command)
        self.servers.append(server)
        server.start()
        deadline = time.monotonic() + DEADLINE_S
        while not serves(server.url):
            if time.monotonic() > deadline or server.process.poll() is not None:
                raise TimeoutError(f"the memory server does not serve: {server.log.read_text()[-2000:]}")
            time.sleep(0.1)
        return server.endpoint()

    def clocks(self, seconds: int) -> None:
        (self.machines / "clocks").write_text(str(seconds))

    def user(self, stack: str, policies: list[str], buckets: list[str]) -> dict[str, str]:
        iam, outputs, name = self.client("iam"), self._outputs(stack), f"user-{time.time_ns():x}"
        iam.create_user(UserName=name)
        for policy in policies:
            iam.attach_user_policy(UserName=name, PolicyArn=outputs[policy])
        if buckets:
            resources = [f"arn:aws:s3:::{bucket}{below}" for bucket in buckets for below in ("", "/*")]
            actions = ["s3:ListBucket", "s3:GetObject", "s3:DeleteObject"]
            allowed = [{"Effect": "Allow", "Action": actions, "Resource": resources}]
            document = json.dumps({"Version": "2012-10-17", "Statement": allowed})
            iam.put_user_policy(UserName=name, PolicyName="buckets", PolicyDocument=document)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return {"access_key": key["AccessKeyId"], "secret_key": key["SecretAccessKey"]}

    def output(self, stack: str, name: str) -> str:
        return self._outputs(stack)[name]

    def running(self, stack: str) -> list[dict[str, str]]:
        return [{"id": one["InstanceId"], "address": one["PrivateIpAddress"],
                 "dataplane": {tag["Key"]: tag["Value"] for tag in one["Tags"]}["skyhaul:dataplane"]}
                for one in self._instances(stack) if one["State"]["Name"] == "running"]

    def probe(self, machine: str, script: str) -> str:
        """Runs a program in a machine's network, with its credentials and nobody else's. Nothing, if it fails."""
        command = ["ip", "netns", "exec", f"vm-{machine[2:10]}", sys.executable, "-c", script]
        environment = {"PATH": "/usr/sbin:/usr/bin:/bin", "AWS_ENDPOINT_URL": self.endpoint,
                       "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION, "HOME": str(self.machines)}
        return subprocess.run(command, env=environment, text=True, check=False, timeout=60,
                              capture_output=True).stdout

    def secrets(self, stack: str) -> list[dict]:
        kms, told = self.client("kms"), []
        for row in self._rows(self._outputs(stack)["ControlTable"]):
            if row["pk"]["S"] == "secrets":
                wrapped = max((bytes(value["B"]) for value in row.values() if "B" in value), key=len)
                plain = kms.decrypt(CiphertextBlob=wrapped,
                                    EncryptionContext={"skyhaul:transfer": row["sk"]["S"]})
                told.append(json.loads(plain["Plaintext"]))
        return told

    def wrapped(self, stack: str, transfer: str) -> str:
        """A transfer's secrets, as they are kept."""
        (row,) = (row for row in self._rows(self._outputs(stack)["ControlTable"])
                  if row["pk"]["S"] == "secrets" and row["sk"]["S"] == transfer)
        found = max((bytes(value["B"]) for value in row.values() if "B" in value), key=len)
        return base64.b64encode(found).decode()

    def keep(self, name: str, text: str) -> str:
        secrets = self.client("secretsmanager")
        try:
            return secrets.create_secret(Name=name, SecretString=text)["ARN"]
        except secrets.exceptions.ResourceExistsException:
            return secrets.put_secret_value(SecretId=name, SecretString=text)["ARN"]

    def grep(self, stack: str, text: str) -> list[str]:
        outputs, found = self._outputs(stack), []
        for table in (outputs["StateTable"], outputs["ControlTable"]):
            for row in self._rows(table):
                if any(text.encode() in raw for raw in raws(row)):
                    found.append(f"{table} {row['pk']['S']} {row['sk']['S']}")
        functions = self.client("stepfunctions")
        for one in self._executions(stack):
            pages = functions.get_paginator("get_execution_history")
            for page in pages.paginate(executionArn=one["executionArn"]):
                found += [f"{one['name']} {event['id']}" for event in page["events"]
                          if text in json.dumps(event, default=str)]
        ec2 = self.client("ec2")
        for one in self._instances(stack):
            told = ec2.describe_instance_attribute(InstanceId=one["InstanceId"], Attribute="userData")
            if text.encode() in base64.b64decode(told.get("UserData", {}).get("Value", "")):
                found.append(f"user data of {one['InstanceId']}")
        for console in self.machines.glob("*/console.log"):
            if text.encode() in console.read_bytes():
                found.append(str(console))
        logs = self.client("logs")
        for group in logs.describe_log_groups()["logGroups"]:
            pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"])
            found += [f"log {group['logGroupName']}" for page in pages for event in page["events"]
                      if text in event["message"]]
        # Segments, and what gateways said.
        s3, bucket = self.client("s3"), outputs["StagingBucket"]
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for one in page.get("Contents", []):
                body = s3.get_object(Bucket=bucket, Key=one["Key"])["Body"].read()
                if text.encode() in body or text.encode() in unpacked(body):
                    found.append(f"s3://{bucket}/{one['Key']}")
        return found


def raws(value: object) -> list[bytes]:
    """All bytes in a row."""
    if isinstance(value, dict):
        return [raw for each in value.values() for raw in raws(each)]
    if isinstance(value, list):
        return [raw for each in value for raw in raws(each)]
    if isinstance(value, bytes):
        # Packed text has a byte before it (crates/state/src/dynamodb/pack.rs).
        return [value, unpacked(value), unpacked(value[1:])]
    return [str(value).encode()]


def unpacked(packed: bytes) -> bytes:
    """What is compressed, if it is."""
    if not packed.startswith(zstandard.FRAME_HEADER):
        return b""
    with zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True) as reader:
        return reader.read()


def serves(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def connect() -> None:
    """The namespace, its bridge, and this machine's link to it."""
    disconnect()
    sh(f"ip netns add {NAME} && ip -n {NAME} link set lo up && "
       f"ip -n {NAME} link add br0 type bridge && "
       f"ip -n {NAME} addr add {ADDRESS}/{PREFIX} dev br0 && ip -n {NAME} link set br0 up && "
       f"ip link add {LINK} type veth peer name outside netns {NAME} && "
       f"ip -n {NAME} link set outside master br0 up && "
       f"ip addr add {OUTSIDE}/{PREFIX} dev {LINK} && ip link set {LINK} up")


def disconnect() -> None:
    sh(f"ip netns pids {NAME} | xargs -r kill -9", check=False)
    sh(f"ip netns del {NAME}", check=False)
    sh(f"ip link del {LINK}", check=False)
    for machine in pathlib.Path("/run/netns").glob("vm-*"):
        sh(f"ip netns pids {machine.name} | xargs -r kill -9; ip netns del {machine.name}", check=False)


def answer(account: Account, line: str) -> dict:
    request = json.loads(line)
    try:
        return {"ok": getattr(account, request.pop("op"))(**request)}
    except Exception as error:  # whoever asked decides what that means
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> int:
    directory = pathlib.Path(sys.argv[1]).resolve()
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    connect()
    servers: list[testbench.Server] = []
    try:
        cloud = Cloud("cloud", directory)
        src, dst = Weed("src", directory, 9000), Weed("dst", directory, 9200)
        for server in (cloud, src, dst):
            servers.append(server)
            server.start()
        deadline = time.monotonic() + DEADLINE_S
        for server in servers:
            while not serves(server.url):
                if time.monotonic() > deadline or server.process.poll() is not None:
                    raise TimeoutError(f"{server.name} does not serve: {server.log.read_text()[-2000:]}")
                time.sleep(0.1)
        machines = Hypervisor("hypervisor", directory)
        machines.endpoint_url = cloud.url
        servers.append(machines)
        machines.start()
        account = Account(cloud, machines.machines, servers)
        endpoint = {name: server.endpoint() for name, server in (("src", src), ("dst", dst))}
        print(json.dumps({"endpoint": cloud.url, "machines": str(machines.machines), **endpoint}),
              flush=True)
        for line in sys.stdin:
            print(json.dumps(answer(account, line)), flush=True)
        return 0
    finally:
        for server in reversed(servers):
            server.stop()
        disconnect()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main())
