"""The rounds of a row: which tool runs when, and which one is out of the running."""

import argparse
import math
from collections.abc import Callable, Iterator

from . import machine, tools

# A peer that took so many times the best peer's time, and also its CPU, runs once in a row, not in
# each round: it will not be the best one, and twice more would take the most of an hour.
BEHIND = 1.25
# So does one that took so many times skyhaul's time, and also its CPU: no other two runs would change who is ahead.
BEATEN = 3.0
# One that takes so many times as long as skyhaul is stopped, but not before a minute and a quarter.
HOPELESS, PATIENCE = 10, 75.0

Run = Callable[[tools.Tool, str, float], dict]


def _allowed(limit: float, mine: float) -> float:
    """Seconds that a run may take, beside what skyhaul took."""
    return min(limit, max(PATIENCE, HOPELESS * mine))


def rounds(row: dict, chosen: list[tools.Tool], options: argparse.Namespace,
           run: Run) -> Iterator[dict]:
    """Interleaved runs of a row: another tool begins each round. `run` takes a tool, its path and
    the seconds it may take. Yields what is to be kept."""
    runners = [t for t in chosen if not options.only or options.only in f"{row['row']}/{t.name}"]
    out: set[str] = set()
    mine = math.inf
    ours: tuple[float, float] | None = None
    costs: dict[str, tuple[float, float]] = {}
    for turn in range(options.runs):
        shift = turn % max(1, len(runners))
        for tool in runners[shift:] + runners[:shift]:
            if tool.name in out:
                continue
            path = tool.path()
            limit = _allowed(options.timeout, mine)
            record = run(tool, path, limit) if path else {"status": "n/a"}
            if record["status"] == "failed" and record.get("wall", 0.0) >= limit:
                record |= {"status": "slow", "error": f"stopped after {limit:.0f} s"}
            print(row["row"], tool.name, record["status"],
                  *(f"{k}={record[k]:.2f}" for k in ("wall", "cpu", "calls") if k in record),
                  record.get("error", ""), flush=True)
            if tool.name == "skyhaul":
                mine = record.get("wall", 0.0)
            if record["status"] != "ok":
                out.add(tool.name)
            elif tool.name == "skyhaul":
                ours = record["wall"], record["cpu"]
            elif tool.peer():
                costs[tool.name] = (record["wall"], record["cpu"])
            yield row | {"run": turn, "tool": tool.name, "peer": tool.peer()} | record
        bounds = [tuple(BEATEN * cost for cost in ours)] if ours else []
        if costs:
            bounds.append(tuple(BEHIND * min(column)
                                for column in zip(*costs.values(), strict=True)))
        out |= {name for name, (wall, cpu) in costs.items()
                for most in bounds if wall > most[0] and cpu > most[1]}
        # Its time is that of its calls, one after the other: it does not vary.
        out.add("skyhaul-serial")


def pinned_cores(pinning: str, ends: tuple) -> list[int]:
    """Pins the servers; returns the cores of the client."""
    server_cores, client_cores = machine.cores(pinning)
    for end in ends:
        end.pin(server_cores)
    return client_cores
