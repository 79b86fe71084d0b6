"""Checks that every line of docs/SEMANTICS.md names a test, and that the test exists.

A line is a table row of a table whose last column is headed `Test` (that cell names one or more
tests in back-ticks), or any list item or paragraph with ``test: `name` ``. A name is a test
function's name, with or without its module path. Existence is read from the sources, so that
the check needs no build.
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "SEMANTICS.md"

# `#[test]`, `#[tokio::test(...)]`, `#[rstest]`, further attributes, then the function.
TEST = re.compile(
    r"#\[(?:\w+::)*(?:test|rstest)\b[^\]]*\]\s*(?:#\[[^\]]*\]\s*)*"
    r"(?:pub(?:\([^)]*\))?\s+)?(?:async\s+)?fn\s+(\w+)"
)
# proptest! { #![..] #[test] fn name(..) } is covered by TEST.
NAME = re.compile(r"`([\w:]+)`")
INLINE = re.compile(r"tests?:\s*((?:`[\w:]+`(?:,\s*)?)+)")


def known_tests() -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.rs"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout
    names: set[str] = set()
    for name in listed.decode().split("\0"):
        path = ROOT / name
        if name and path.is_file():
            names.update(TEST.findall(path.read_text(encoding="utf-8")))
    return names


def cells(row: str) -> list[str]:
    """The cells of a table row; an escaped bar does not part two."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip().strip("|"))]


def named(text: str) -> list[tuple[int, list[str], bool]]:
    """(line number, tests named, whether the line must name one)."""
    found = []
    in_test_table = False
    previous = ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("|"):
            row = cells(line)
            if all(re.fullmatch(r":?-+:?", cell) for cell in row):
                in_test_table = cells(previous)[-1].lower() in {"test", "tests"}
            elif in_test_table:
                found.append((number, NAME.findall(row[-1]), True))
        else:
            in_test_table = False
            for match in INLINE.finditer(line):
                found.append((number, NAME.findall(match.group(1)), True))
        previous = line
    return found


def main() -> int:
    if not DOCUMENT.is_file():
        print("semantics: docs/SEMANTICS.md is missing", file=sys.stderr)
        return 1
    tests = known_tests()
    lines = named(DOCUMENT.read_text(encoding="utf-8"))
    bad = []
    for number, names, required in lines:
        if required and not names:
            bad.append(f"docs/SEMANTICS.md:{number}: names no test")
        for name in names:
            if name.rsplit("::", 1)[-1] not in tests:
                bad.append(f"docs/SEMANTICS.md:{number}: no test is called `{name}`")
    if not lines:
        bad.append("docs/SEMANTICS.md: no line names a test")
    for line in bad:
        print(line, file=sys.stderr)
    print(f"semantics: {len(lines)} lines, {len(tests)} tests known, {len(bad)} faults")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
