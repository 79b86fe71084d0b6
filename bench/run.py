#!/usr/bin/env python3
"""Side by side: skyhaul, rclone, juicefs, s5cmd and aws over the same servers and data.

Writes bench/RESULTS.md and bench/results.json. Standard library only; peers are looked for in
$BENCH_TOOLS, .testbench/venv/bin and PATH, skyhaul in $SKYHAUL_BIN and target/release. A tool
that is not there is n/a.
"""

import argparse
import json
import pathlib
import shutil
import signal
import sys

from runner import copying, listing, machine, report, tools, workloads

HERE = pathlib.Path(__file__).resolve().parent


def words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="interleaved runs of each row")
    parser.add_argument("--servers", type=words, default=["mem", "weed"], help="mem,weed")
    parser.add_argument("--pinning", type=words, default=["pinned", "free"], help="pinned,free")
    parser.add_argument("--workloads", type=words, help="names, comma separated (--list shows)")
    parser.add_argument("--tools", type=words, help="names, comma separated (--list shows)")
    parser.add_argument("--only", help="rows whose server/pinning/workload/tool holds this text")
    parser.add_argument("--add", action="store_true",
                        help="keep the last results of rows and tools that are not measured now")
    parser.add_argument("--quick", action="store_true", help="small sizes: a smoke test")
    parser.add_argument("--verify", action="store_true", help="memory server checks every byte")
    parser.add_argument("--work", type=pathlib.Path, default=HERE.parent / ".testbench/bench",
                        help="directory for local trees and servers' data")
    parser.add_argument("--out", type=pathlib.Path, default=HERE, help="where results go")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds a run may take")
    parser.add_argument("--list", action="store_true", help="show names and exit")
    return parser.parse_args()


def main() -> int:
    # Terminated is interrupted: servers and tools must not outlive the runner.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options = arguments()
    loads = workloads.copies(options.quick) + workloads.listings(options.quick)
    if options.list:
        print("workloads:", *(w.name for w in loads))
        print("tools:", *(t.name for t in tools.ALL))
        return 0
    if options.workloads:
        unknown = set(options.workloads) - {w.name for w in loads}
        if unknown:
            sys.exit(f"unknown workloads: {', '.join(sorted(unknown))}; --list shows them")
        loads = [w for w in loads if w.name in options.workloads]
    chosen = tools.ALL
    if options.tools:
        unknown = set(options.tools) - {t.name for t in tools.ALL}
        if unknown:
            sys.exit(f"unknown tools: {', '.join(sorted(unknown))}; --list shows them")
        chosen = [t for t in tools.ALL if t.name in options.tools]
    machine.build_server()
    options.work = options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    scratch = options.work / "run"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    options.out.mkdir(parents=True, exist_ok=True)
    raw = options.out / "results.json"
    earlier = json.loads(raw.read_text()) if options.add and raw.exists() else {}
    if earlier and (earlier["machine"], earlier["quick"]) != (machine.describe(), options.quick):
        sys.exit(f"{raw} is of another machine or other sizes: --add would mix them")
    records = []

    def keep(record: dict) -> None:
        records.append(record)
        measured = {(r["row"], r["tool"]) for r in records}
        others = [r for r in earlier.get("records", []) if (r["row"], r["tool"]) not in measured]
        results = {"machine": machine.describe(),
                   "versions": earlier.get("versions", {}) | tools.versions(chosen),
                   "quick": options.quick, "records": others + records}
        raw.write_text(json.dumps(results, indent=1) + "\n")

    try:
        copying.measure([w for w in loads if not w.shape], chosen, options, scratch, keep)
        listing.measure([w for w in loads if w.shape], chosen, options, scratch, keep)
    except KeyboardInterrupt:
        print("interrupted: reporting what there is", file=sys.stderr)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if not records:
        print("nothing was measured", file=sys.stderr)
        return 1
    text = report.render(json.loads(raw.read_text()))
    (options.out / "RESULTS.md").write_text(text)
    print(f"wrote {options.out / 'RESULTS.md'}")
    failed = [r for r in records if r["status"] == "failed"]
    for record in failed:
        print("failed:", record["row"], record["tool"], record["error"], file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
