#!/usr/bin/env python3
"""Size and start time of the functions of a deployment: from the start of the process to the first question for work.

    functions.py BINARY [RUNS]

BINARY is the release build of skyhaul-functions; it is stripped as what is deployed. Prints a table.
"""

import http.server
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile

FUNCTIONS = ("plan", "list", "provision", "watch", "complete", "verify", "teardown", "reap", "trigger")


class Runtime(http.server.BaseHTTPRequestHandler):
    """The service's side: it notes when it was asked, and has no work."""

    asked = threading.Event()

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        Runtime.asked.set()
        time.sleep(5)


def start(binary: pathlib.Path, function: str, port: int) -> tuple[float, float]:
    """Milliseconds until it asks for work, and MiB of memory then."""
    environment = {
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}", "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_LAMBDA_FUNCTION_NAME": function,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024", "AWS_LAMBDA_FUNCTION_VERSION": "1",
        "AWS_LAMBDA_LOG_STREAM_NAME": "none", "AWS_LAMBDA_LOG_GROUP_NAME": "none",
        "SKYHAUL_FUNCTION": function, "SKYHAUL_STACK": "haul", "SKYHAUL_STATE_TABLE": "state",
        "SKYHAUL_CONTROL_TABLE": "control", "SKYHAUL_STAGING": "s3://staging/transfers/",
        "SKYHAUL_KEY": "key", "SKYHAUL_STATE_MACHINE": "arn",
    }
    Runtime.asked.clear()
    begun = time.perf_counter()
    process = subprocess.Popen([binary], env=environment, stdout=subprocess.DEVNULL)
    try:
        if not Runtime.asked.wait(10):
            sys.exit(f"{function} did not ask for work")
        took = 1000 * (time.perf_counter() - begun)
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        (rss,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
        return took, rss / 1024
    finally:
        process.kill()
        process.wait()


def main() -> int:
    built, runs = pathlib.Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 10
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Runtime)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        binary, packed = pathlib.Path(folder) / "bootstrap", pathlib.Path(folder) / "bootstrap.zip"
        subprocess.run(["strip", "-o", binary, built], check=True)
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(binary, "bootstrap")
        size, zipped = (os.path.getsize(path) / 2**20 for path in (binary, packed))
        print(f"One binary: {size:.1f} MiB, {zipped:.1f} MiB as it is uploaded. Medians of {runs} starts:\n")
        print("| Function | Start, ms | Memory then, MiB |\n| --- | --: | --: |")
        for function in FUNCTIONS:
            told = [start(binary, function, server.server_port) for _ in range(runs)]
            took, rss = (statistics.median(column) for column in zip(*told, strict=True))
            print(f"| {function} | {took:.0f} | {rss:.0f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
