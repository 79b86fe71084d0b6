"""Runs the copies: servers, interleaved rounds, a check of what arrived."""

import argparse
import contextlib
import http.client
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable

from . import machine, rounds, servers, tools
from .workloads import Workload

TARGET = "sink"
Keep = Callable[[dict], None]


def _flags(loads: list[Workload], verify: bool) -> list[str]:
    flags = ["--verify"] if verify else []
    for bucket, count, size in sorted({(w.bucket, w.count, w.size) for w in loads}):
        flags += ["--source", f"{bucket}={count}x{size}B"]
    return flags


def _make_tree(url: str, load: Workload, directory: pathlib.Path) -> None:
    """Writes the objects of a data set as files."""
    if directory.exists():
        return
    directory.mkdir(parents=True)
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    for index in range(load.count):
        name = f"obj-{index:07d}"
        connection.request("GET", f"/{load.bucket}/{name}")
        reply = connection.getresponse()
        with (directory / name).open("wb") as file:
            shutil.copyfileobj(reply, file, 1 << 20)


def _tree_holds(directory: pathlib.Path) -> tuple[int, int]:
    sizes = [path.stat().st_size for path in directory.rglob("*") if path.is_file()]
    return len(sizes), sum(sizes)


def _load_weed(source: servers.Weed, memory: servers.Memory, loads: list[Workload],
               place: tools.Place) -> None:
    rclone = machine.find("rclone", "RCLONE_BIN")
    if not rclone:
        raise RuntimeError("SeaweedFS rows need rclone to fill the source")
    env = tools.environment(place) | {"RCLONE_CONFIG_SRC_ENDPOINT": memory.url,
                                      "RCLONE_CONFIG_DST_ENDPOINT": source.url}
    for load in {w.bucket: w for w in loads}.values():
        source.clear(load.bucket)
        cost = machine.run([rclone, "copy", f"src:{load.bucket}", f"dst:{load.bucket}",
                            "--transfers", "16"], env, machine.CORES, 3600)
        if source.holds(load.bucket) != (load.count, load.bytes):
            raise RuntimeError(f"filling {load.bucket} failed: {cost.tail}")


# Trees of more files than this are kept until the end.
MANY = 1000


def _fresh(directory: pathlib.Path, files: int) -> None:
    """An empty directory. Large trees are moved aside, not removed: ext4 passes over inodes that
    were freed in the last minutes, and the next run would pay for looking for others."""
    if directory.exists() and files > MANY:
        aside = directory.parent / "aside"
        aside.mkdir(exist_ok=True)
        directory.rename(tempfile.mkdtemp(dir=aside))
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)


def _one(tool: tools.Tool, path: str, load: Workload, place: tools.Place, ends: tuple,
         on: list[int], timeout: float) -> dict:
    """One run: what it cost, and whether everything arrived."""
    source, target = ends
    target.clear(TARGET)
    if isinstance(source, servers.Memory):
        source.clear(TARGET)
    for directory in (place.local_target, place.via, place.scratch / "state"):
        _fresh(directory, load.count)
    steps = tool.copy(path, load, place)
    if steps is None:
        return {"status": "n/a"}
    # What an earlier run left to write must not be paid by this one.
    os.sync()
    env = tools.environment(place)
    before = source.cpu() + target.cpu()
    cost = machine.Cost()
    for step in steps:
        cost += machine.run(step, env, on, timeout)
        if cost.code:
            break
    record = {"status": "ok", "commands": steps, "wall": cost.wall, "user": cost.user,
              "system": cost.system, "cpu": cost.user + cost.system, "rss": cost.rss,
              "server_cpu": source.cpu() + target.cpu() - before}
    if isinstance(target, servers.Memory):
        record["requests"] = {"source": source.stats()["operations"],
                              "target": target.stats()["operations"]}
    held = _tree_holds(place.local_target) if load.direction == "s3-local" else target.holds(TARGET)
    if cost.code:
        record |= {"status": "failed", "error": f"exit code {cost.code}: {cost.tail[-500:]}"}
    elif held != (load.count, load.bytes):
        want = (load.count, load.bytes)
        record |= {"status": "failed", "error": f"{held} objects and bytes arrived, not {want}"}
    return record


def _wanted(server: str, pinning: str, load: Workload, options: argparse.Namespace) -> bool:
    """Whether a row is measured that nobody asked for by name. Sharing all cores tells of copies
    between stores; SeaweedFS needs more than one, and many minutes for many objects."""
    if options.workloads or (server, pinning) == ("mem", "pinned"):
        return True
    if load.direction != "s3-s3" or (server == "weed" and load.count > 50_000):
        return False
    return server == "mem" or pinning == "free"


def _rows(server: str, loads: list[Workload], chosen: list[tools.Tool], ends: tuple,
          place: tools.Place, options: argparse.Namespace, keep: Keep) -> None:
    for pinning in options.pinning:
        on = rounds.pinned_cores(pinning, ends)
        for load in loads:
            if not _wanted(server, pinning, load, options):
                continue
            place.source = load.bucket
            place.local_source = place.scratch / "trees" / load.bucket

            def run(tool: tools.Tool, path: str, limit: float, load: Workload = load,
                    on: list[int] = on) -> dict:
                given = tool.guarantees.get(load.direction, "")
                return {"guarantees": given} | _one(tool, path, load, place, ends, on, limit)

            row = {"row": f"{server}/{pinning}/{load.name}", "server": server, "pinning": pinning,
                   "workload": load.name, "direction": load.direction, "count": load.count,
                   "size": load.size}
            for record in rounds.rounds(row, chosen, options, run):
                keep(record)


def measure(loads: list[Workload], chosen: list[tools.Tool], options: argparse.Namespace,
            scratch: pathlib.Path, keep: Keep) -> None:
    """All copies over all servers asked for."""
    if not loads:
        return
    with contextlib.ExitStack() as stack:
        memory = stack.enter_context(servers.Memory(_flags(loads, False), machine.CORES))
        place = tools.Place("", "", "", TARGET, scratch, scratch / "local", scratch / "via", scratch)
        for load in loads:
            if load.direction == "local-s3":
                _make_tree(memory.url, load, scratch / "trees" / load.bucket)
        for server in options.servers:
            if server == "mem":
                # The target knows the data sets under other names, to verify sizes.
                sets = [f.replace("data-", "known-", 1) for f in _flags(loads, options.verify)]
                target = stack.enter_context(servers.Memory(sets, machine.CORES))
                place.source_url, place.target_url = memory.url, target.url
                _rows(server, loads, chosen, (memory, target), place, options, keep)
                target.stop()
            elif weed := machine.find("weed", "WEED_BIN"):
                ends = tuple(stack.enter_context(
                    servers.Weed(weed, scratch / name, machine.CORES)) for name in ("a", "b"))
                place.source_url, place.target_url = ends[0].url, ends[1].url
                _load_weed(ends[0], memory, [w for w in loads if w.direction != "local-s3"], place)
                _rows(server, loads, chosen, ends, place, options, keep)
            else:
                print("weed not found: SeaweedFS rows are n/a", flush=True)
