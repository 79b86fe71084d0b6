"""The S3 servers under the benchmark: ours in memory, and SeaweedFS."""

import json
import os
import pathlib
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ElementTree

from . import machine

ACCESS, SECRET, REGION = "bench", "bench-secret", "us-east-1"


def http(method: str, url: str, timeout: float = 60) -> bytes:
    request = urllib.request.Request(url, method=method)
    with urllib.request.urlopen(request, timeout=timeout) as reply:
        return reply.read()


class Server:
    """A process with an endpoint `url`."""

    def __init__(self) -> None:
        self.process: subprocess.Popen | None = None
        self.url = ""

    def cpu(self) -> float:
        return machine.cpu_seconds(self.process.pid)

    def pin(self, on: list[int]) -> None:
        """Moves all threads to these cores."""
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            try:
                os.sched_setaffinity(int(task.name), on)
            except ProcessLookupError:
                pass

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Memory(Server):
    """skyhaul-bench-server."""

    def __init__(self, flags: list[str], on: list[int]) -> None:
        super().__init__()
        self.process = subprocess.Popen(
            [machine.server_binary(), *flags], stdout=subprocess.PIPE, text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, on))
        line = self.process.stdout.readline()
        if not line.startswith("listening on "):
            raise RuntimeError(f"the memory server did not start: {line!r}")
        self.url = line.split()[-1]

    def stats(self) -> dict:
        return json.loads(http("GET", self.url + "/_bench/stats"))

    def clear(self, _: str) -> None:
        http("POST", self.url + "/_bench/reset")

    def holds(self, bucket: str) -> tuple[int, int]:
        sink = self.stats()["sinks"].get(bucket, {})
        return sink.get("objects", 0), sink.get("bytes", 0)


class Weed(Server):
    """SeaweedFS with one volume to grow at a time and open to unsigned requests as well."""

    def __init__(self, weed: str, directory: pathlib.Path, on: list[int]) -> None:
        super().__init__()
        data = directory / "data"
        data.mkdir(parents=True)
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identities = [
            {"name": "bench", "actions": actions,
             "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}]},
            {"name": "anonymous", "actions": actions},
        ]
        config = directory / "identities.json"
        config.write_text(json.dumps({"identities": identities}))
        names = ["master.port", "master.port.grpc", "volume.port", "volume.port.grpc",
                 "filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc"]
        # All held at once, so that they differ.
        held = [socket.socket() for _ in names]
        for one in held:
            one.bind(("127.0.0.1", 0))
        ports = {name: one.getsockname()[1] for name, one in zip(names, held)}
        for one in held:
            one.close()
        self.url = f"http://127.0.0.1:{ports['s3.port']}"
        environment = os.environ | {"WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",
                                    "HOME": str(directory)}
        with (directory / "server.log").open("wb") as log:
            self.process = subprocess.Popen(
                [weed, f"-logdir={directory}", "server", "-ip=127.0.0.1", f"-dir={data}",
                 "-filer", "-s3", f"-s3.config={config}", "-s3.port.iceberg=0",
                 "-s3.port.lance=0", "-s3.allowDeleteBucketNotEmpty=true",
                 "-master.volumeSizeLimitMB=1024", "-volume.max=4000",
                 "-volume.minFreeSpacePercent=1",
                 *(f"-{name}={port}" for name, port in ports.items())],
                env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                preexec_fn=lambda: os.sched_setaffinity(0, on))
        deadline = time.monotonic() + 60
        while not self._serves():
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.stop()
                raise RuntimeError(f"SeaweedFS does not serve; see {directory}/server.log")
            time.sleep(0.1)

    def _serves(self) -> bool:
        try:
            http("PUT", self.url + "/ready", 5)
            request = urllib.request.Request(self.url + "/ready/probe", b"x", method="PUT")
            with urllib.request.urlopen(request, timeout=5):
                pass
            http("DELETE", self.url + "/ready", 5)
            return True
        except (OSError, urllib.error.URLError):
            return False

    def make(self, bucket: str) -> None:
        http("PUT", f"{self.url}/{bucket}")

    def clear(self, bucket: str) -> None:
        try:
            http("DELETE", f"{self.url}/{bucket}", 600)
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
        self.make(bucket)

    def holds(self, bucket: str) -> tuple[int, int]:
        space = "{http://s3.amazonaws.com/doc/2006-03-01/}"
        objects = size = 0
        token = ""
        while True:
            query = f"?list-type=2&max-keys=1000{token}"
            root = ElementTree.fromstring(http("GET", f"{self.url}/{bucket}{query}"))
            for entry in root.iter(f"{space}Contents"):
                objects += 1
                size += int(entry.findtext(f"{space}Size"))
            following = root.findtext(f"{space}NextContinuationToken")
            if not following:
                return objects, size
            token = "&continuation-token=" + urllib.parse.quote(following, safe="")
