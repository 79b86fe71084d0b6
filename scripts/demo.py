"""`make demo`: a real transfer between two S3 servers on this machine, judged by another client.

Starts two SeaweedFS servers, fills a bucket, copies it with `skyhaul cp -r`, changes some
objects, runs `skyhaul sync --delete` twice (the second finds nothing to do), and after each
step reads every object on both sides with boto3: bytes and metadata. Exit code 0 only if all
are equal. The binary is SKYHAUL_BIN, else the one that `cargo build -p skyhaul` made.
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import boto3
import botocore.config
import testdata

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCE, COPY = "demo-source", "demo-copy"
KIB, MIB = 1 << 10, 1 << 20
WORKERS = 8
SHOWN = 10

# (name, how many, bytes each, content type)
DATA = [
    ("tiny/{:04}.json", 300, 700, "application/json"),
    ("photos/{:03}.jpg", 60, 400 * KIB, "image/jpeg"),
    ("video/{}.mp4", 4, 24 * MIB, "video/mp4"),
    ("disk.img", 1, 150 * MIB, "application/octet-stream"),
    ("empty/{}", 3, 0, "text/plain"),
    ("folder/", 1, 0, "application/x-directory"),
    ("Größe 100%/ünï cödé +&=.txt", 1, 5000, "text/plain; charset=utf-8"),
]


def say(text: str) -> None:
    print(f"\n== {text}", flush=True)


class Side:
    """One server's bucket, seen by boto3."""

    def __init__(self, endpoint: dict, bucket: str) -> None:
        self.endpoint, self.bucket = endpoint, bucket
        self.s3 = boto3.client(
            "s3",
            endpoint_url=endpoint["url"],
            aws_access_key_id=endpoint["access_key"],
            aws_secret_access_key=endpoint["secret_key"],
            region_name=endpoint["region"],
            config=botocore.config.Config(
                s3={"addressing_style": "path"}, max_pool_connections=2 * WORKERS
            ),
        )
        self.s3.create_bucket(Bucket=bucket)

    def put(self, key: str, seed: int, size: int, content_type: str) -> None:
        self.s3.put_object(
            Bucket=self.bucket,
            Key=key,
            Body=testdata.body(seed, size),
            ContentType=content_type,
            CacheControl="max-age=3600",
            Metadata={"demo-seed": str(seed)},
        )

    def keys(self) -> list[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return [found["Key"] for page in pages for found in page.get("Contents", [])]

    def read(self, key: str) -> tuple:
        """What a copy must keep: size, digest, headers, metadata."""
        answer = self.s3.get_object(Bucket=self.bucket, Key=key)
        digest = hashlib.sha256()
        for piece in answer["Body"].iter_chunks(MIB):
            digest.update(piece)
        headers = (answer.get("ContentType"), answer.get("CacheControl"))
        return answer["ContentLength"], digest.hexdigest(), *headers, answer["Metadata"]

    def all(self) -> dict[str, tuple]:
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            keys = self.keys()
            return dict(zip(keys, pool.map(self.read, keys), strict=True))


def fill(source: Side) -> int:
    """Stores the data set; gives its bytes."""
    items = [
        (name.format(number), seed * 1000 + number, size, content_type)
        for seed, (name, count, size, content_type) in enumerate(DATA, 1)
        for number in range(count)
    ]
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(lambda item: source.put(*item), items))
    total = sum(size for _, _, size, _ in items)
    print(f"{len(items)} objects, {total / MIB:.0f} MiB, from 0 bytes to 150 MiB")
    return total


def change(source: Side) -> None:
    source.put("photos/007.jpg", 90_001, 500 * KIB, "image/jpeg")
    source.put("tiny/0042.json", 90_002, 700, "application/json")  # same size, other bytes
    source.put("video/new.mp4", 90_003, 30 * MIB, "video/mp4")
    gone = ["photos/000.jpg", "tiny/0001.json", "empty/2"]
    for key in gone:
        source.s3.delete_object(Bucket=source.bucket, Key=key)
    print(f"overwritten: photos/007.jpg, tiny/0042.json; added: video/new.mp4; deleted: {gone}")


def differences(source: Side, copy: Side) -> list[str]:
    ours, theirs = source.all(), copy.all()
    found = [f"missing at the destination: {key}" for key in sorted(ours.keys() - theirs.keys())]
    found += [f"not at the source: {key}" for key in sorted(theirs.keys() - ours.keys())]
    for key in sorted(ours.keys() & theirs.keys()):
        if ours[key] != theirs[key]:
            found.append(f"differs: {key}\n   {ours[key]}\n   {theirs[key]}")
    if not found:
        total = sum(value[0] for value in ours.values()) / MIB
        print(f"verified by boto3: {len(ours)} objects, {total:.0f} MiB, bytes and metadata equal")
    return found


class Skyhaul:
    """The command, with a home of its own and a profile for each side."""

    def __init__(self, home: pathlib.Path, source: Side, copy: Side) -> None:
        self.binary = os.environ.get("SKYHAUL_BIN") or default_binary()
        credentials = home / "aws-credentials"
        self.sides: list[str] = []
        text = ""
        for flag, side in (("src", source), ("dst", copy)):
            endpoint = side.endpoint
            text += f"[demo-{flag}]\naws_access_key_id = {endpoint['access_key']}\n"
            text += f"aws_secret_access_key = {endpoint['secret_key']}\n"
            self.sides += [f"--{flag}-endpoint-url", endpoint["url"]]
            self.sides += [f"--{flag}-region", endpoint["region"]]
            self.sides += [f"--{flag}-profile", f"demo-{flag}"]
        credentials.touch(mode=0o600)
        credentials.write_text(text)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "SKYHAUL_"))}
        self.environment = kept | {
            "AWS_SHARED_CREDENTIALS_FILE": str(credentials),
            "AWS_CONFIG_FILE": str(home / "aws-config"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "SKYHAUL_STATE_DIR": str(home / "state"),
            "SKYHAUL_CONFIG": str(home / "config.toml"),
        }

    def run(self, command: str, *flags: str) -> None:
        """Runs it in the open, bar and all."""
        shown = ["skyhaul", command, *flags, f"s3://{SOURCE}/", f"s3://{COPY}/"]
        print("$ " + " ".join(shown + self.sides), flush=True)
        done = subprocess.run(
            [self.binary, *shown[1:], *self.sides],
            env=self.environment,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0:
            sys.exit(f"demo: skyhaul {command} ended with {done.returncode}")


def default_binary() -> str:
    target = os.environ.get("CARGO_TARGET_DIR") or ROOT / "target"
    return str(pathlib.Path(target) / "debug" / "skyhaul")


def start_servers() -> dict:
    command = [sys.executable, str(ROOT / "scripts" / "testbench.py"), "up"]
    command += ["--watch", str(os.getpid()), "--servers", "src,dst"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def state_of(side: Side) -> dict[str, tuple]:
    """ETag and time of every object: whatever is written again shows."""
    pages = side.s3.get_paginator("list_objects_v2").paginate(Bucket=side.bucket)
    found = (item for page in pages for item in page.get("Contents", []))
    return {item["Key"]: (item["ETag"], item["LastModified"]) for item in found}


def verify(source: Side, copy: Side) -> None:
    found = differences(source, copy)
    if found:
        shown = "\n".join(found[:SHOWN])
        sys.exit(f"{shown}\ndemo: FAILED: {len(found)} differences, the first of them above")


def main() -> int:
    say("starting two S3 servers (SeaweedFS) on this machine")
    servers = start_servers()
    source, copy = Side(servers["src"], SOURCE), Side(servers["dst"], COPY)
    print(f"source      {source.endpoint['url']}\ndestination {copy.endpoint['url']}")

    say("making the data set")
    total = fill(source)

    with tempfile.TemporaryDirectory(prefix="skyhaul-demo-") as home:
        skyhaul = Skyhaul(pathlib.Path(home), source, copy)
        say("copying everything")
        began = time.monotonic()
        skyhaul.run("cp", "-r")
        took = time.monotonic() - began
        print(f"copied in {took:.1f} s, {total / MIB / took:.0f} MiB/s on this machine")
        verify(source, copy)

        say("changing some objects, then syncing")
        change(source)
        skyhaul.run("sync", "--delete", "-y")
        verify(source, copy)

        say("syncing again: nothing is left to do")
        before = state_of(copy)
        skyhaul.run("sync", "--delete", "-y")
        if state_of(copy) != before:
            sys.exit("demo: FAILED: the second sync wrote to the destination")
        print("0 objects written, 0 deleted")

    say("done: every object was copied, changed and deleted as asked, and verified")
    return 0


if __name__ == "__main__":
    sys.exit(main())
