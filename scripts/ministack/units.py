"""Write and read units that calls of DynamoDB consume, by table, added up in a file (UNITS):

    {TABLE: {"writes": 12.0, "reads": 3.5, "refused": 2}}

MiniStack computes them from the sizes of items, as the service does, and tells whoever asks, as Skyhaul always does.
A call that its condition refuses consumes units at the service, but is told nothing of them here: `refused` counts
the items of such calls.
"""

import collections
import json
import os
import pathlib
import threading

import ministack.services.dynamodb as dynamodb
from replacing import replace

READS = frozenset({"GetItem", "BatchGetItem", "Query", "Scan", "TransactGetItems"})

# What is in the place of MiniStack's own, by name.
before: dict = {}

lock = threading.Lock()
consumed: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)


def tables(data: dict) -> list[str]:
    """The table of each item of a call."""
    if items := data.get("TransactItems"):
        return [operation["TableName"] for item in items for operation in item.values()]
    return [data["TableName"]] if "TableName" in data else list(data.get("RequestItems", {}))


def add(action: str, data: dict, status: int, reply: dict) -> None:
    kind = "reads" if action in READS else "writes"
    told = reply.get("ConsumedCapacity", [])
    with lock:
        if status != 200:
            for name in tables(data):
                consumed[name]["refused"] += 1
        for each in told if isinstance(told, list) else [told]:
            consumed[each["TableName"].rpartition("/")[2]][kind] += each["CapacityUnits"]
        path = pathlib.Path(os.environ["UNITS"])
        new = path.with_suffix(".new")
        new.write_text(json.dumps(consumed))
        new.rename(path)


async def handle_request(method, path, headers, body, query):
    reply = await before["handle_request"](method, path, headers, body, query)
    action = headers.get("x-amz-target", "").rpartition(".")[2]
    add(action, json.loads(body or b"{}"), reply[0], json.loads(reply[2] or b"{}"))
    return reply


def install() -> None:
    """Puts all of this in its place, where somebody asks for it."""
    if "UNITS" in os.environ:
        replace(before, dynamodb, handle_request=handle_request)
