"""Runs the listings: a page takes 50 ms, and every key must come exactly once."""

import argparse
import pathlib
import subprocess
import sys
from collections.abc import Callable

from . import machine, rounds, servers, tools
from .workloads import Workload

DELAY_MS = 50

# In a process of its own: a million keys would count as the runner's memory.
_COUNT = r"""
import sys
lines, seen = 0, set()
with open(sys.argv[1], "rb") as file:
    for line in file:
        words = line.split()
        if words:
            lines += 1
            seen.add(hash(words[-1].removeprefix(sys.argv[2].encode())))
print(lines, len(seen))
"""


def _count(output: pathlib.Path, bucket: str) -> tuple[int, int]:
    done = subprocess.run([sys.executable, "-c", _COUNT, str(output), f"s3://{bucket}/"],
                          capture_output=True, text=True, check=True)
    lines, keys = done.stdout.split()
    return int(lines), int(keys)


def _one(tool: tools.Tool, path: str, load: Workload, server: servers.Memory,
         scratch: pathlib.Path, on: list[int], timeout: float) -> dict:
    place = tools.Place(server.url, server.url, load.bucket, "", scratch, scratch, scratch, scratch)
    steps = tool.list(path, server.url, load.shape)
    if steps is None:
        return {"status": "n/a"}
    server.clear("")
    before = server.cpu()
    output = scratch / "listing.txt"
    cost = machine.run(steps[0], tools.environment(place), on, timeout, output)
    operations = server.stats()["operations"]
    calls = operations.get("ListObjects", 0) + operations.get("ListObjectsV2", 0)
    record = {"status": "ok", "commands": steps, "wall": cost.wall, "user": cost.user,
              "system": cost.system, "cpu": cost.user + cost.system, "rss": cost.rss,
              "server_cpu": server.cpu() - before, "calls": calls}
    lines, keys = _count(output, load.shape)
    output.unlink()
    if cost.code:
        record |= {"status": "failed", "error": f"exit code {cost.code}: {cost.tail[-500:]}"}
    elif (lines, keys) != (load.count, load.count):
        record |= {"status": "failed",
                   "error": f"{lines} lines with {keys} keys, not {load.count}"}
    return record


def measure(loads: list[Workload], chosen: list[tools.Tool], options: argparse.Namespace,
            scratch: pathlib.Path, keep: Callable[[dict], None]) -> None:
    """All listings, server and client on a core each."""
    if not loads or "mem" not in options.servers:
        return
    pinning = options.pinning[0]
    for load in loads:
        flags = ["--list-delay-ms", str(DELAY_MS), "--keyspace", f"{load.shape}={load.shape}:{load.count}"]
        with servers.Memory(flags, machine.CORES) as server:
            on = rounds.pinned_cores(pinning, (server,))

            def run(tool: tools.Tool, path: str, limit: float, load: Workload = load,
                    server: servers.Memory = server, on: list[int] = on) -> dict:
                return _one(tool, path, load, server, scratch, on, limit)

            row = {"row": f"mem/{pinning}/{load.name}", "server": "mem", "pinning": pinning,
                   "workload": load.name, "direction": "list", "count": load.count,
                   "size": load.size, "guarantees": "every key exactly once: checked"}
            for record in rounds.rounds(row, chosen, options, run):
                keep(record)
