"""What is measured: the copies and the listings."""

import dataclasses

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


@dataclasses.dataclass(frozen=True)
class Workload:
    """One row's data. `direction` is s3-s3, s3-local, local-s3 or list."""

    name: str
    direction: str
    count: int
    size: int
    shape: str = ""

    @property
    def bucket(self) -> str:
        return f"data-{self.count}x{self.size}"

    @property
    def bytes(self) -> int:
        return self.count * self.size


def copies(quick: bool) -> list[Workload]:
    def load(direction: str, count: int, size: int, label: str) -> Workload:
        if quick and size >= 8 * MIB:
            size //= 16
        elif quick:
            count //= 50
        return Workload(f"{direction}:{label}", direction, count, size)

    large, small = (16, 128 * MIB, "16x128MiB"), (20_000, 16 * KIB, "20000x16KiB")
    return [
        load("s3-s3", 1, 2 * GIB, "1x2GiB"),
        load("s3-s3", *large),
        load("s3-s3", 2000, MIB, "2000x1MiB"),
        load("s3-s3", *small),
        load("s3-s3", 100_000, KIB, "100000x1KiB"),
        load("s3-local", *large),
        load("s3-local", *small),
        load("local-s3", *large),
        load("local-s3", *small),
    ]


def listings(quick: bool) -> list[Workload]:
    count = 20_000 if quick else 1_000_000
    return [
        Workload(f"list:{shape}", "list", count, KIB, shape)
        for shape in ("uniform", "deep", "skew", "longprefix")
    ]
