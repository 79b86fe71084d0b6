"""The tools: their command lines, their environment and what they guarantee."""

import dataclasses
import pathlib
import subprocess
from collections.abc import Callable

from . import machine
from .servers import ACCESS, REGION, SECRET
from .workloads import Workload


@dataclasses.dataclass
class Place:
    """Where a run reads and writes."""

    source_url: str
    target_url: str
    source: str
    target: str
    local_source: pathlib.Path
    local_target: pathlib.Path
    via: pathlib.Path
    scratch: pathlib.Path


Steps = list[list[str]] | None


@dataclasses.dataclass(frozen=True)
class Tool:
    """`copy` and `list` give the commands of a run, one after the other; None is n/a."""

    name: str
    binary: str
    variable: str
    copy: Callable[[str, Workload, Place], Steps]
    list: Callable[[str, str, str], Steps]
    guarantees: dict[str, str]

    def path(self) -> str | None:
        found = machine.find(self.binary, self.variable)
        if not found and self.binary.startswith("skyhaul"):
            built = machine.TARGET / "release" / self.binary
            return str(built) if built.is_file() else None
        return found

    def peer(self) -> bool:
        return not self.name.startswith(("skyhaul", "floor"))


def environment(place: Place) -> dict[str, str]:
    """One environment for all: nothing of the caller's home or account is seen."""
    aws = place.scratch / "aws-config"
    aws.write_text("[default]\nregion = us-east-1\ns3 =\n  max_concurrent_requests = 32\n"
                   "  max_queue_size = 10000\n  addressing_style = path\n")
    env = {
        "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(place.scratch), "LANG": "C.UTF-8",
        "AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION, "AWS_CONFIG_FILE": str(aws),
        "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "3",
        "SKYHAUL_STATE_DIR": str(place.scratch / "state"),
        "SKYHAUL_CONFIG": str(place.scratch / "skyhaul.toml"),
        "RCLONE_CONFIG": str(place.scratch / "rclone.conf"),
    }
    for side, url in (("SRC", place.source_url), ("DST", place.target_url)):
        settings = {"TYPE": "s3", "PROVIDER": "Other", "ENDPOINT": url, "REGION": REGION,
                    "ACCESS_KEY_ID": ACCESS, "SECRET_ACCESS_KEY": SECRET}
        env |= {f"RCLONE_CONFIG_{side}_{name}": value for name, value in settings.items()}
    return env


def _skyhaul(*flags: str, only: str = "") -> Callable[[str, Workload, Place], Steps]:
    def copy(path: str, load: Workload, place: Place) -> Steps:
        if only and load.direction != only:
            return None
        source, target = f"s3://{place.source}/", f"s3://{place.target}/"
        source_url = ["--src-endpoint-url", place.source_url]
        target_url = ["--dst-endpoint-url", place.target_url]
        match load.direction:
            case "s3-local":
                target, target_url = f"{place.local_target}/", []
            case "local-s3":
                source, source_url = f"{place.local_source}/", []
        return [[path, "cp", "-r", source, target, *source_url, *target_url, "-y", "--fresh",
                 *flags]]
    return copy


def _rclone(*flags: str) -> Callable[[str, Workload, Place], Steps]:
    def copy(path: str, load: Workload, place: Place) -> Steps:
        source, target = f"src:{place.source}", f"dst:{place.target}"
        match load.direction:
            case "s3-local":
                target = str(place.local_target)
            case "local-s3":
                source = str(place.local_source)
        return [[path, "copy", source, target, "--transfers", "32", "--checkers", "32",
                 "--fast-list", "--s3-no-check-bucket", "--s3-chunk-size", "16M",
                 "--s3-upload-concurrency", "8", "--multi-thread-streams", "8",
                 "--multi-thread-chunk-size", "16M", "--stats", "0", *flags]]
    return copy


def _juicefs(threads: int) -> Callable[[str, Workload, Place], Steps]:
    def copy(path: str, load: Workload, place: Place) -> Steps:
        def remote(url: str, bucket: str) -> str:
            return f"minio://{ACCESS}:{SECRET}@{url.removeprefix('http://')}/{bucket}/"
        source = remote(place.source_url, place.source)
        target = remote(place.target_url, place.target)
        match load.direction:
            case "s3-local":
                target = f"{place.local_target}/"
            case "local-s3":
                source = f"{place.local_source}/"
        return [[path, "sync", "--threads", str(threads), "--no-color", "--metrics",
                 "127.0.0.1:0", source, target]]
    return copy


def _s5cmd(path: str, load: Workload, place: Place) -> Steps:
    base = [path, "--log", "error", "--numworkers", "256"]
    local = place.local_target if load.direction == "s3-local" else place.via
    up_from = place.local_source if load.direction == "local-s3" else place.via
    down = [*base, "--endpoint-url", place.source_url, "cp", "--concurrency", "16",
            f"s3://{place.source}/*", f"{local}/"]
    up = [*base, "--endpoint-url", place.target_url, "cp", "--concurrency", "16",
          f"{up_from}/", f"s3://{place.target}/"]
    return {"s3-local": [down], "local-s3": [up]}.get(load.direction, [down, up])


def _aws(path: str, load: Workload, place: Place) -> Steps:
    def copy(url: str, source: str, target: str) -> list[str]:
        return [path, "--endpoint-url", url, "s3", "cp", "--recursive", "--only-show-errors",
                source, target]
    local = place.local_target if load.direction == "s3-local" else place.via
    up_from = place.local_source if load.direction == "local-s3" else place.via
    down = copy(place.source_url, f"s3://{place.source}/", f"{local}/")
    up = copy(place.target_url, f"{up_from}/", f"s3://{place.target}/")
    return {"s3-local": [down], "local-s3": [up]}.get(load.direction, [down, up])


def _floor(path: str, load: Workload, place: Place) -> Steps:
    source, target = (f"{url.removeprefix('http://')}/{bucket}" for url, bucket in (
        (place.source_url, place.source), (place.target_url, place.target)))
    if load.direction == "local-s3":
        source = str(place.local_source)
    if load.direction == "s3-local":
        target = str(place.local_target)
    return [[path, source, target, str(load.count)]]


def _disk(path: str, load: Workload, place: Place) -> Steps:
    if load.direction != "s3-local" or load.count > 100:
        return None
    return [[path, "if=/dev/zero", f"of={place.local_target}/{n}", "bs=1M", "conv=fdatasync",
             f"count={load.size >> 20}", "status=none"] for n in range(load.count)]


def _no_list(*_: str) -> Steps:
    return None


_RCLONE = {
    "s3-s3": "size; MD5 compared where both ETags are one; no tags; no user metadata",
    "s3-local": "size; MD5 where the source's ETag is one; mtime; no fsync",
    "local-s3": "size; MD5 of each part and object; mtime",
}
_LEAN = {direction: "nothing read back, no checksum compared" for direction in _RCLONE}
_JUICEFS = {
    "s3-s3": "size; no checksum compared (--check-new is off); no tags, no metadata",
    "s3-local": "size; no checksum compared; no fsync",
    "local-s3": "size; no checksum compared",
}
_S5CMD = {
    "s3-s3": "down and up over the disk: no checksum compared; no metadata; no fsync",
    "s3-local": "no checksum compared; no fsync",
    "local-s3": "signed SHA-256 of each request",
}
_AWS = {
    "s3-s3": "down and up over the disk: checksums of the service's replies; no metadata",
    "s3-local": "checksum where the service sends one; mtime; no fsync",
    "local-s3": "CRC with each request",
}
_SKYHAUL = {
    "s3-s3": "CRC64NVME end to end, compared with the source's and checked by the target; "
             "metadata; tags; one version of the source",
    "s3-local": "CRC64NVME compared with the source's; mtime; fsync before the rename",
    "local-s3": "CRC64NVME checked by the target; mtime; a changing file is caught",
}

ALL = [
    Tool("skyhaul", "skyhaul", "SKYHAUL_BIN", _skyhaul(),
         lambda path, url, bucket: [[path, "ls", "-r", "--unordered", f"s3://{bucket}/",
                                     "--endpoint-url", url]],
         _SKYHAUL),
    Tool("skyhaul-serial", "skyhaul", "SKYHAUL_BIN", _no_list,
         lambda path, url, bucket: [[path, "ls", "-r", f"s3://{bucket}/", "--endpoint-url", url]],
         {}),
    Tool("skyhaul-nofsync", "skyhaul", "SKYHAUL_BIN", _skyhaul("--fsync", "off", only="s3-local"),
         _no_list, _SKYHAUL | {"s3-local": "as skyhaul, but no fsync"}),
    Tool("rclone", "rclone", "RCLONE_BIN", _rclone(),
         lambda path, _, bucket: [[path, "lsf", "-R", "--files-only", "--fast-list",
                                   f"src:{bucket}"]],
         _RCLONE),
    Tool("rclone-lean", "rclone", "RCLONE_BIN",
         _rclone("--s3-no-head", "--s3-disable-checksum", "--ignore-checksum", "--no-check-dest"),
         _no_list, _LEAN),
    Tool("juicefs", "juicefs", "JUICEFS_BIN", _juicefs(64), _no_list, _JUICEFS),
    Tool("juicefs-10", "juicefs", "JUICEFS_BIN", _juicefs(10), _no_list, _JUICEFS),
    Tool("s5cmd", "s5cmd", "S5CMD_BIN", _s5cmd,
         lambda path, url, bucket: [[path, "--endpoint-url", url, "ls", f"s3://{bucket}/*"]],
         _S5CMD),
    Tool("aws", "aws", "AWS_BIN", _aws, _no_list, _AWS),
    Tool("floor", "skyhaul-bench-floor", "FLOOR_BIN", _floor, _no_list,
         dict.fromkeys(_LEAN, "no tool: the kernel's price of the bytes alone, one at a time")),
    Tool("floor-disk", "dd", "DD_BIN", _disk, _no_list,
         {"s3-local": "no tool: zeros written and flushed, a file at a time"}),
]

REASONS = """\
The flags were chosen, not searched for: other counts of transfers and threads were not tried.

- **rclone**: 32 transfers and checkers, parts of 16 MiB, 8 at once. `rclone-lean` also leaves out
  every look-back (`--s3-no-head`), the MD5 (`--s3-disable-checksum`, `--ignore-checksum`) and the
  listing of the target (`--no-check-dest`): less work, and no proof.
- **juicefs sync**: 64 threads, and its default of 10 as `juicefs-10`. `--check-new` would read
  everything back, and is off.
- **s5cmd, aws s3** have one endpoint a command: s3-s3 is a download and an upload over a
  directory on the same disk, times added, peak memory the larger.
- **floor** is no tool and no peer: one blocking socket (or file) in, one out, 128 KiB at a time, no
  flush. What it costs in CPU is what the kernel takes for receiving and sending these bytes here;
  no client that passes them through its own memory costs less.
- **floor-disk** is `dd conv=fdatasync` of as many zeros: what the disk itself takes for the bytes of
  a run that flushes them.
- **skyhaul ls** lists `--unordered`, as its transfers do; `skyhaul-serial` is the same in key order,
  one page after the other: what the listing column of the summary compares with.
- **skyhaul** starts each run afresh (`--fresh`, an empty state directory).

The guarantees of each tool are what its documentation and flags say; the benchmark itself checks
the number of objects and bytes, and with `--verify` every byte that the memory server receives.
"""


def versions(chosen: list[Tool]) -> dict[str, str]:
    """First line of each tool's version, or n/a."""
    asked = {"rclone": ["version"], "s5cmd": ["version"]}
    found: dict[str, str] = {}
    for tool in chosen:
        path = tool.path()
        if tool.binary in found:
            continue
        if not path:
            found[tool.binary] = "n/a"
            continue
        try:
            done = subprocess.run([path, *asked.get(tool.binary, ["--version"])], text=True,
                                  capture_output=True, timeout=60, check=False)
            found[tool.binary] = ((done.stdout or done.stderr).strip().splitlines() or ["?"])[0]
        except (OSError, subprocess.TimeoutExpired) as error:
            found[tool.binary] = f"does not run: {error}"
    return found
