"""Starts the servers that tests and demo use, and sees to it that nothing survives them.

    testbench.py up --watch PID [--on-disk] [--servers src,dst,odd]

`up` detaches a supervisor, waits until every server does its work, and prints one line of
JSON: {"src": {"url", "access_key", "secret_key", "region", "kind"}, "dst": ..., "odd": ...}.
The supervisor stops the servers and removes their data when process PID is gone, however it
went; should the supervisor itself be killed, the kernel kills the servers (Linux).

    src, dst   SeaweedFS, each with its own credentials, so that a side that uses the other's
               is refused; bucket names beginning with `open-` may be read without signing
    odd        moto, which keeps every key as it is (`a//b`, `foo` beside `foo/bar`), where
               SeaweedFS folds or refuses
    ministack  MiniStack, with what it leaves out (`scripts/ministack/`). DynamoDB: conditional
               writes and transactions are atomic, and write units are right. (moto's are not: of
               eight writers at once under one condition two succeed now and then, and every write
               costs one unit.) EC2: launches, tags, security groups
    dynamodb_local
               AWS's own emulator, of 2020: checks requests as the service does
"""

import argparse
import contextlib
import ctypes
import json
import os
import pathlib
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUN = ROOT / ".testbench" / "run"
BIN = pathlib.Path(sys.executable).parent
MEMORY = pathlib.Path("/dev/shm")
MEMORY_NEEDED = 8 << 30
START_DEADLINE_S = 45
# How often servers on disk free what was deleted.
GIVE_BACK_S = 30.0
# Below the range that the kernel gives to outgoing connections, so that none takes a port
# between our look and the server's bind.
PORTS = range(18000, 32000)
REGION = "us-east-1"


def free_ports(count: int) -> list[int]:
    """Ports of which nobody listens at this moment; held together so that they differ."""
    held: list[socket.socket] = []
    try:
        while len(held) < count:
            candidate = socket.socket()
            try:
                candidate.bind(("127.0.0.1", random.choice(PORTS)))
                held.append(candidate)
            except OSError:
                candidate.close()
        return [each.getsockname()[1] for each in held]
    finally:
        for each in held:
            each.close()


def die_with_parent() -> None:
    """In a server's process, before exec: the kernel kills it when the supervisor dies."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


class Server:
    """One server process with its directory; started again on other ports if it fails."""

    def __init__(self, name: str, directory: pathlib.Path) -> None:
        self.name = name
        self.directory = directory / name
        self.directory.mkdir(parents=True)
        self.log = self.directory / "server.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.access_key = f"test-{name}"
        self.secret_key = f"test-secret-of-{name}"

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {}

    def start(self) -> None:
        command = self.command()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.directory,
                env=os.environ | self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
            )

    def client(self, service: str):
        import boto3
        import botocore.config

        return boto3.client(
            service,
            endpoint_url=self.url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=REGION,
            config=botocore.config.Config(
                s3={"addressing_style": "path"},
                connect_timeout=2,
                read_timeout=5,
                retries={"total_max_attempts": 1},
            ),
        )

    def serves(self) -> bool:
        """Whether an object can be stored: a listening port alone does not mean that."""
        import botocore.exceptions

        client = self.client("s3")
        bucket = f"ready-{self.name}"
        try:
            client.create_bucket(Bucket=bucket)
            client.put_object(Bucket=bucket, Key="probe", Body=b"ready")
            client.delete_object(Bucket=bucket, Key="probe")
            client.delete_bucket(Bucket=bucket)
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
            if (getattr(error, "response", None) or {}).get("Error", {}).get("Code") in (
                "BucketAlreadyExists",
                "BucketAlreadyOwnedByYou",
            ):
                client.delete_bucket(Bucket=bucket)
            return False
        return True

    def wait(self, deadline: float) -> None:
        while not self.serves():
            if self.process is not None and self.process.poll() is not None:
                self.start()  # most likely a port was taken meanwhile
            if time.monotonic() > deadline:
                tail = self.log.read_text(errors="replace")[-2000:]
                raise TimeoutError(f"server {self.name} does not serve; its log ends:\n{tail}")
            time.sleep(0.1)

    def give_back(self) -> None:
        """Frees the space of what was deleted, where that does not happen by itself."""

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        # Not gently: the data is thrown away, and SeaweedFS takes seconds over a SIGTERM.
        self.process.kill()
        self.process.wait()

    def endpoint(self) -> dict[str, str]:
        return {
            "url": self.url,
            "access_key": self.access_key,
            "secret_key": self.secret_key,
            "region": REGION,
            "kind": self.kind,
        }

    kind = ""


class SeaweedFs(Server):
    kind = "seaweedfs"

    def command(self) -> list[str]:
        # Every port by name: what is left to its default clashes with a second instance.
        names = [
            "master.port", "master.port.grpc", "volume.port", "volume.port.grpc",
            "filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc",
        ]  # fmt: skip
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.url = f"http://127.0.0.1:{ports['s3.port']}"
        self.master = f"http://127.0.0.1:{ports['master.port']}"
        data = self.directory / "data"
        data.mkdir(exist_ok=True)
        identities = self.directory / "identities.json"
        identities.write_text(json.dumps({"identities": self.identities()}))
        return [
            str(BIN / "weed"),
            f"-logdir={self.directory}",
            "server",
            "-ip=127.0.0.1",
            f"-dir={data}",
            "-filer",
            "-s3",
            f"-s3.config={identities}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.allowDeleteBucketNotEmpty=true",
            "-master.volumeSizeLimitMB=256",
            "-volume.max=4000",
            "-volume.minFreeSpacePercent=1",
            *(f"-{name}={port}" for name, port in ports.items()),
        ]

    def give_back(self) -> None:
        """Frees the space of deleted objects: by itself it does so every quarter of an hour."""
        address = f"{self.master}/vol/vacuum?garbageThreshold=0.1"
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=60):
            pass

    def environment(self) -> dict[str, str]:
        # A bucket is a collection, and by default a collection's first object makes 7 volumes.
        return {"WEED_MASTER_VOLUME_GROWTH_COPY_1": "1", "HOME": str(self.directory)}

    def identities(self) -> list[dict]:
        return [
            {
                "name": "owner",
                "credentials": [{"accessKey": self.access_key, "secretKey": self.secret_key}],
                "actions": ["Admin", "Read", "Write", "List", "Tagging"],
            },
            {
                "name": "reader",
                "credentials": [
                    {"accessKey": f"{self.access_key}-reader", "secretKey": self.secret_key}
                ],
                "actions": ["Read", "List"],
            },
            {"name": "anonymous", "actions": ["Read:open-*", "List:open-*"]},
        ]


class Moto(Server):
    kind = "moto"

    def command(self) -> list[str]:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        return [str(BIN / "python"), str(BIN / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]


class DynamoDb(Server):
    def serves(self) -> bool:
        """Whether tables can be asked for."""
        import botocore.exceptions

        try:
            self.client("dynamodb").list_tables()
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
            return False
        return True


class MiniStack(DynamoDb):
    kind = "ministack"

    def command(self) -> list[str]:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self.port = port
        python = ROOT / ".testbench" / "ministack" / "bin" / "python"
        return [str(python), str(ROOT / "scripts" / "ministack" / "serve.py")]

    def environment(self) -> dict[str, str]:
        home = str(self.directory)
        port = str(self.port)
        # Functions run as processes of this machine, and find the emulator's other services.
        return {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": port, "HOME": home, "TMPDIR": home,
                "LAMBDA_EXECUTOR": "local", "AWS_ENDPOINT_URL": self.url}


class DynamoDbLocal(DynamoDb):
    kind = "dynamodb-local"

    def command(self) -> list[str]:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        home = ROOT / ".testbench" / "dynamodb-local"
        return [
            "java",
            "-Xmx512m",
            f"-Djava.library.path={home / 'DynamoDBLocal_lib'}",
            "-jar",
            str(home / "DynamoDBLocal.jar"),
            "-inMemory",
            "-sharedDb",
            "-port",
            str(port),
        ]


KINDS = {
    "src": SeaweedFs,
    "dst": SeaweedFs,
    "odd": Moto,
    "ministack": MiniStack,
    "dynamodb_local": DynamoDbLocal,
}


def data_directory(on_disk: bool) -> pathlib.Path:
    """In memory where there is enough of it; named after its owner, so that it can be swept."""
    base = RUN
    if not on_disk and MEMORY.is_dir():
        room = os.statvfs(MEMORY)
        if room.f_bavail * room.f_frsize >= MEMORY_NEEDED and os.access(MEMORY, os.W_OK):
            base = MEMORY
    base.mkdir(parents=True, exist_ok=True)
    directory = base / f"skyhaul-testbench-{os.getpid()}"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700)
    return directory


def sweep() -> None:
    """Removes what supervisors that were killed have left."""
    for base in (MEMORY, RUN):
        for left in base.glob("skyhaul-testbench-*"):
            with contextlib.suppress(ValueError):
                if not alive(int(left.name.rsplit("-", 1)[1])):
                    shutil.rmtree(left, ignore_errors=True)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Watch:
    """Waits for the end of a process that is not our child, or for a signal to us."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.wake_r, wake_w = os.pipe()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: os.write(wake_w, b"!"))
        self.pidfd = None
        if hasattr(os, "pidfd_open"):
            try:
                self.pidfd = os.pidfd_open(pid)
            except ProcessLookupError:
                os.write(wake_w, b"!")

    def ended(self, timeout: float | None) -> bool:
        waited = [self.wake_r] + ([] if self.pidfd is None else [self.pidfd])
        # Without pidfd (not Linux) there is nothing to wait on: look twice a second.
        step = timeout if self.pidfd is not None else min(timeout or 0.5, 0.5)
        ready, _, _ = select.select(waited, [], [], step)
        return bool(ready) or (self.pidfd is None and not alive(self.pid))


def supervise(arguments: argparse.Namespace) -> int:
    watch = Watch(arguments.watch)
    sweep()
    directory = data_directory(arguments.on_disk)
    servers: list[Server] = []
    try:
        for name in arguments.servers.split(","):
            servers.append(KINDS[name](name, directory))
            servers[-1].start()
        deadline = time.monotonic() + START_DEADLINE_S
        for server in servers:
            server.wait(deadline)
        line = json.dumps({server.name: server.endpoint() for server in servers})
        with os.fdopen(arguments.ready_fd, "w") as ready:
            ready.write(line + "\n")
        # In memory little is written, and nothing should be busy beside the tests.
        pause = GIVE_BACK_S if arguments.on_disk else None
        while not watch.ended(pause):
            for server in servers:
                server.give_back()
        return 0
    finally:
        for server in servers:
            server.stop()
        shutil.rmtree(directory, ignore_errors=True)


def up(arguments: argparse.Namespace) -> int:
    RUN.mkdir(parents=True, exist_ok=True)
    log_path = RUN / f"supervisor-{os.getpid()}.log"
    read_fd, write_fd = os.pipe()
    command = [
        sys.executable, __file__, "supervise",
        "--watch", str(arguments.watch),
        "--servers", arguments.servers,
        "--ready-fd", str(write_fd),
        *(["--on-disk"] if arguments.on_disk else []),
    ]  # fmt: skip
    with log_path.open("wb") as log:
        # A session of its own: ctrl-C ends the watched process, and that ends the servers.
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[write_fd],
            start_new_session=True,
        )
    os.close(write_fd)
    with os.fdopen(read_fd) as ready:
        line = ready.readline()
    if not line:
        print(f"the test servers did not start:\n{log_path.read_text()}", file=sys.stderr)
        return 1
    log_path.unlink(missing_ok=True)
    print(line, end="")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["up", "supervise"])
    parser.add_argument("--watch", type=int, required=True, metavar="PID")
    parser.add_argument("--on-disk", action="store_true", help="keep the data on disk")
    parser.add_argument("--servers", default="src,dst,odd")
    parser.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    return {"up": up, "supervise": supervise}[arguments.command](arguments)


if __name__ == "__main__":
    sys.exit(main())
