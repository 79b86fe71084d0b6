"""House rules that no linter checks: size and opening of every Rust file."""

import pathlib
import subprocess
import sys

MAX_LINES = 800
ROOT = pathlib.Path(__file__).resolve().parent.parent


def rust_files() -> list[pathlib.Path]:
    """Tracked and new files, not what is ignored or removed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.rs"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout
    paths = (ROOT / name for name in listed.decode().split("\0") if name)
    return sorted({path for path in paths if path.is_file()})


def faults(path: pathlib.Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    found = []
    if len(lines) > MAX_LINES:
        found.append(f"{len(lines)} lines, at most {MAX_LINES} are allowed: split it by noun")
    if not lines or not lines[0].startswith("//!"):
        found.append("does not begin with `//!` saying what the file is for")
    return found


def main() -> int:
    files = rust_files()
    bad = [f"{path.relative_to(ROOT)}: {fault}" for path in files for fault in faults(path)]
    for line in bad:
        print(line, file=sys.stderr)
    print(f"sources: {len(files)} Rust files, {len(bad)} faults")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
