"""The Markdown table from the raw records."""

import math
import shlex
import statistics

from . import rounds, tools
from .listing import DELAY_MS


def _median(records: list[dict], field: str) -> float:
    return statistics.median(r[field] for r in records)


def _paired(mine: list[dict], best: list[dict], field: str) -> float | None:
    """Median of the ratios within each round."""
    theirs = {r["run"]: r[field] for r in best}
    ratios = [r[field] / theirs[r["run"]] for r in mine if theirs.get(r["run"])]
    return statistics.median(ratios) if ratios else None


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _by_tool(records: list[dict]) -> tuple[dict[str, list[dict]], dict[str, list[dict]]]:
    """A row's records by tool: all, and of the tools that failed in none."""
    by_tool: dict[str, list[dict]] = {}
    for record in records:
        by_tool.setdefault(record["tool"], []).append(record)
    good = {name: [r for r in rs if r["status"] == "ok"] for name, rs in by_tool.items()}
    complete = {name: rs for name, rs in good.items()
                if rs and not any("error" in r for r in by_tool[name])}
    return by_tool, complete


def _best(complete: dict[str, list[dict]], field: str) -> list[dict]:
    """The records of the peer with the least median."""
    peers = [rs for rs in complete.values() if rs[0]["peer"]]
    return min(peers, key=lambda rs: _median(rs, field), default=[])


def _summary(rows: list[list[dict]]) -> list[str]:
    """Skyhaul beside the best peer, a line a row."""
    lines = ["| row | skyhaul wall s | best peer | x | skyhaul CPU s | best peer | x "
             "| floor CPU s | listing |", "|---|--:|---|--:|--:|---|--:|--:|---|"]
    for records in rows:
        _, complete = _by_tool(records)
        mine = complete.get("skyhaul")
        if not mine:
            continue
        cells = [records[0]["row"]]
        for field in ("wall", "cpu"):
            best = _best(complete, field)
            cells += [f"{_median(mine, field):.2f}",
                      f"{best[0]['tool']} {_median(best, field):.2f}" if best else "",
                      _ratio(_paired(mine, best, field))]
        floor = complete.get("floor")
        cells.append(f"{_median(floor, 'cpu'):.2f}" if floor else "")
        cells.append(_listing(mine, complete.get("skyhaul-serial")) if "calls" in mine[0] else "")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _listing(mine: list[dict], serial: list[dict] | None) -> str:
    """What a listing costs beside one that takes page after page."""
    pages = math.ceil(mine[0]["count"] / 1000)
    wall = _median(mine, "wall")
    text = (f"{_median(mine, 'calls') / pages:.2f} x the fewest calls, "
            f"{pages * DELAY_MS / 1000 / wall:.0f} x as fast as a serial listing's delays alone")
    if serial:
        text += f", {_median(serial, 'wall') / wall:.0f} x as fast as our own serial one"
    return text


def _row_table(records: list[dict]) -> list[str]:
    by_tool, complete = _by_tool(records)

    listing = records[0]["direction"] == "list"
    extra = " calls |" if listing else ""
    lines = [f"| tool | wall s | x best peer | client CPU s | x best peer | peak RSS MiB | server CPU s |{extra} guarantees |",
             f"|---|--:|--:|--:|--:|--:|--:|{'--:|' if listing else ''}---|"]
    for name, rs in sorted(by_tool.items(), key=lambda kv: _median(complete[kv[0]], "wall")
                           if kv[0] in complete else math.inf):
        if name not in complete:
            failed = next((r for r in rs if "error" in r), None)
            why = (f"{failed['status']}: {failed['error'].strip().splitlines()[-1][:120]}"
                   if failed else "n/a")
            why = why.replace("|", "/")
            lines.append(f"| {name} | n/a | | | | | |{' |' if listing else ''} {why} |")
            continue
        ok = complete[name]
        calls = f" {_median(ok, 'calls'):.0f} |" if listing else ""
        wall = _median(ok, "wall")
        busy = " (!)" if _median(ok, "server_cpu") > 0.9 * wall and ok[0]["pinning"] == "pinned" else ""
        lines.append(
            f"| {name} | {wall:.2f}{busy} | {_ratio(_paired(ok, _best(complete, 'wall'), 'wall'))} "
            f"| {_median(ok, 'cpu'):.2f} | {_ratio(_paired(ok, _best(complete, 'cpu'), 'cpu'))} "
            f"| {_median(ok, 'rss') / 2**20:.0f} | {_median(ok, 'server_cpu'):.2f} |{calls} "
            f"{ok[0]['guarantees']} |")
    return lines


def render(results: dict) -> str:
    """RESULTS.md."""
    m = results["machine"]
    records = results["records"]
    lines = ["# Results", ""]
    if results["quick"]:
        lines += ["**Small sizes (`--quick`): a smoke test of the runner, not a measurement.**", ""]
    lines += [
        f"{m['cpu']}, {m['cores']} cores, {m['memory_gib']} GiB, Linux {m['kernel']}.",
        "",
        "Medians of interleaved runs; another tool begins each round. "
        "*x best peer* is the median of the ratios within each round, to the peer with the least "
        "median of that column. CPU is user + system of the whole process tree. `pinned`: servers "
        "on one core, client on another; `free`: both share all cores. `(!)`: the servers' core was "
        "busy for over 90 % of the time, so the server may be the limit. After each run the number of "
        "objects and bytes at the target is compared with the data set's. A peer whose first run took "
        f"over {rounds.BEHIND} times the best peer's time and over {rounds.BEHIND} times its CPU, or "
        f"{rounds.BEATEN:.0f} times skyhaul's of both, runs once; one that takes over {rounds.HOPELESS} times as long as skyhaul (and "
        f"{rounds.PATIENCE:.0f} s) is stopped. Files of local sources are in the page cache; the disk "
        "is synced before each run.",
        "",
        "The source has an MD5 as ETag up to 8 MiB and a multipart ETag above, as S3 has after "
        "uploads with default settings, and a CRC64NVME for who asks (memory server).",
        "",
        "Versions: " + "; ".join(f"{n}: {v}" for n, v in results["versions"].items()) + ".",
        "",
    ]
    order = list(dict.fromkeys(r["row"] for r in records))
    rows = [[r for r in records if r["row"] == row] for row in order]
    lines += ["## Summary", "", *_summary(rows), ""]
    for row, here in zip(order, rows, strict=True):
        runs = 1 + max(r["run"] for r in here)
        lines += [f"## {row}", ""]
        if here[0]["direction"] == "list":
            pages = math.ceil(here[0]["count"] / 1000)
            lines += [f"{here[0]['count']:,} keys, {DELAY_MS} ms a page. Fewest calls {pages:,}; "
                      f"one after the other {pages * DELAY_MS / 1000:.1f} s. {runs} runs.", ""]
        else:
            lines += [f"{here[0]['count']:,} objects of {here[0]['size']:,} bytes. {runs} runs.", ""]
        lines += [*_row_table(here), ""]
    lines += ["## Appendix: why these flags", "", tools.REASONS, "",
              "## Appendix: command lines", "", "```"]
    shown = set()
    for record in records:
        for command in record.get("commands", []):
            key = (record["direction"], record["tool"], command[1:4].__repr__())
            if key not in shown:
                shown.add(key)
                program = command[0].rsplit("/", 1)[-1]
                lines.append(f"# {record['direction']}, {record['tool']}")
                lines.append(shlex.join([program, *command[1:]]))
    lines += ["```", ""]
    return "\n".join(lines)
