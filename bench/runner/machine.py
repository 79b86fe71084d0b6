"""The machine: its description, its cores, running a child and what the child cost."""

import dataclasses
import os
import pathlib
import platform
import resource
import shutil
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
SERVER = TARGET / "release/skyhaul-bench-server"

CORES = sorted(os.sched_getaffinity(0))
#: Cores of (server, client); with one core there is nothing to pin.
PINNED = (CORES[:1], CORES[1:2]) if len(CORES) > 1 else (CORES, CORES)
FREE = (CORES, CORES)


def cores(pinning: str) -> tuple[list[int], list[int]]:
    return PINNED if pinning == "pinned" else FREE


def build_server() -> None:
    """Builds the memory server, unless the caller did."""
    if os.environ.get("BENCH_SERVER"):
        return
    subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "skyhaul-bench"],
                   cwd=ROOT, check=True)


def server_binary() -> str:
    return os.environ.get("BENCH_SERVER") or str(SERVER)


def describe() -> dict:
    model = next((line.split(":", 1)[1].strip()
                  for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": model, "cores": len(CORES), "memory_gib": round(memory / 2**30, 1),
            "kernel": platform.release(), "python": platform.python_version()}


@dataclasses.dataclass
class Cost:
    """Seconds, CPU seconds of the whole child tree, bytes of peak memory."""

    wall: float = 0.0
    user: float = 0.0
    system: float = 0.0
    rss: int = 0
    code: int = 0
    tail: str = ""

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.wall + other.wall, self.user + other.user, self.system + other.system,
                    max(self.rss, other.rss), self.code or other.code,
                    (self.tail + other.tail)[-2000:])


def _high_water(pid: int) -> int:
    try:
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return 0


def run(argv: list[str], env: dict[str, str], on: list[int], timeout: float,
        stdout: pathlib.Path | None = None) -> Cost:
    """Runs a command to its end. Its output is kept only as a tail, for messages."""
    with tempfile.TemporaryFile() as errors:
        out = stdout.open("wb") if stdout else errors
        try:
            begin = time.monotonic()
            child = subprocess.Popen(
                argv, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=errors,
                start_new_session=True, preexec_fn=lambda: os.sched_setaffinity(0, on))
            seen, ended = [0], threading.Event()

            def watch() -> None:
                while not ended.wait(0.05):
                    seen[0] = max(seen[0], _high_water(child.pid))
                    if time.monotonic() - begin > timeout:
                        os.killpg(child.pid, 9)
                        return

            watcher = threading.Thread(target=watch, daemon=True)
            watcher.start()
            try:
                _, status, usage = os.wait4(child.pid, 0)
            except BaseException:
                os.killpg(child.pid, 9)
                os.waitpid(child.pid, 0)
                child.returncode = -9
                ended.set()
                raise
            wall = time.monotonic() - begin
            ended.set()
            watcher.join()
            child.returncode = os.waitstatus_to_exitcode(status)
        finally:
            if stdout:
                out.close()
        size = errors.seek(0, 2)
        errors.seek(max(0, size - 2000))
        tail = errors.read().decode(errors="replace")
    # A child inherits the peak of the process that forked it: below ours, what was seen in
    # /proc counts.
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    rss = usage.ru_maxrss * 1024
    if rss <= own and seen[0]:
        rss = seen[0]
    return Cost(wall, usage.ru_utime, usage.ru_stime, rss, child.returncode, tail)


def cpu_seconds(pid: int) -> float:
    """CPU time of a running process so far."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def find(name: str, variable: str = "") -> str | None:
    """A tool's path. A pip wrapper around a binary is skipped in favour of the binary."""
    if variable and os.environ.get(variable):
        return os.environ[variable]
    places = [os.environ.get("BENCH_TOOLS", ""), str(ROOT / ".testbench/venv/bin")]
    for place in filter(None, places):
        packaged = sorted(pathlib.Path(place).parent.glob(
            f"lib/python*/site-packages/{name}/**/{name}"))
        for path in [*packaged, pathlib.Path(place) / name]:
            if path.is_file() and os.access(path, os.X_OK):
                return str(path)
    return shutil.which(name)
