"""Faults of the services, as asked for in a file (FAULTS), which may change at any time:

    {"functions": [{"function": PART OF ITS NAME, "fault": "crash" | "hang" | "hold" | "pause",
                    "with": [KEYS], "without": [KEYS], "times": 1}],
     "capacity": 2, "throttle": 0.1, "lose": 0.05, "seconds": 20, "seed": 1}

- `crash`: the function's process is killed while it works, or before its reply is heard
- `hang`: it stops in the same way, and its time is up after HANG seconds
- `hold`: the invocation begins when it is not asked for any more
- `pause`: it stands still for up to PAUSE seconds
- `capacity`: so many launches are refused for want of capacity
- `throttle`, `lose`: that share of the calls of DynamoDB is refused as too many, or carried out and then answered
  with a failure
- `seconds`: executions that begin have so many

A fault of a function meets invocations whose payload has all keys of `with` and none of `without`, so often as
`times` says. Each fault that happened is a line in FAULTS.log: its name, and what it happened to.
"""

import collections
import json
import os
import pathlib
import random
import signal
import threading
import time

import ministack.services.dynamodb as dynamodb
from ministack.core.lambda_runtime import ProvidedWorker
from ministack.core.responses import error_response_json
from replacing import replace

# Seconds that a function which hangs is given.
HANG = 3
PAUSE = 2
# It is struck at any moment of the first so many seconds.
MOMENT = 0.3

# What is in the place of MiniStack's own, by name.
before: dict = {}


class Asked:
    """What is asked for now, and what of it has happened."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path, self.log = path, path.with_suffix(".log")
        self.lock = threading.Lock()
        self.text, self.faults, self.happened = "", {}, collections.Counter()
        self.chance = random.Random()

    def now(self) -> dict:
        try:
            text = self.path.read_text()
        except FileNotFoundError:
            text = "{}"
        with self.lock:
            if text != self.text:
                self.text, self.faults = text, json.loads(text)
                self.happened.clear()
                self.chance.seed(self.faults.get("seed"))
            return self.faults

    def take(self, which: object, times: int) -> bool:
        """Whether a fault is to happen once more."""
        with self.lock:
            if self.happened[which] >= times:
                return False
            self.happened[which] += 1
            return True

    def tell(self, name: str, what: str) -> None:
        with self.lock, self.log.open("a") as log:
            print(name, what, file=log)


asked = Asked(pathlib.Path(os.environ.get("FAULTS", "faults.json")))


def short_of_capacity(kind: str) -> bool:
    """Whether a launch is refused."""
    if not asked.take("capacity", asked.now().get("capacity", 0)):
        return False
    asked.tell("capacity", kind)
    return True


def seconds() -> float | None:
    """What an execution that begins has."""
    return asked.now().get("seconds")


async def handle_request(method, path, headers, body, query):
    faults = asked.now()
    action = headers.get("x-amz-target", "").rpartition(".")[2]
    if asked.chance.random() < faults.get("throttle", 0):
        asked.tell("throttle", action)
        return error_response_json("ThrottlingException", "Rate of requests exceeds the allowed throughput.", 400)
    reply = await before["handle_request"](method, path, headers, body, query)
    if asked.chance.random() < faults.get("lose", 0):
        asked.tell("lose", action)
        return error_response_json("InternalServerError", "Internal server error", 500)
    return reply


def fault_of(name: str, payload: object) -> dict | None:
    """The fault that an invocation meets."""
    told = payload if isinstance(payload, dict) else {}
    for number, fault in enumerate(asked.now().get("functions", [])):
        meets = (fault["function"] in name and all(told.get(key) for key in fault.get("with", []))
                 and not any(told.get(key) for key in fault.get("without", [])))
        if meets and asked.take(number, fault.get("times", 1)):
            return fault
    return None


def invoke(self, event, request_id, **named):
    fault = fault_of(self.func_name, event)
    if fault is None:
        return before["invoke"](self, event, request_id, **named)
    kind = fault["fault"]
    asked.tell(kind, self.func_name)
    if kind == "hold":
        while fault in asked.now().get("functions", []):
            time.sleep(0.02)
        return before["invoke"](self, event, request_id, **named)
    return struck(self, kind, lambda: before["invoke"](self, event, request_id, **named), request_id)


def struck(worker, kind: str, call, request_id: str) -> dict:
    """An invocation whose process dies, stops or stands still. Of one that dies or stops no reply is heard."""
    ended, own = threading.Event(), worker.config

    def strike() -> None:
        while worker._current_request_id != request_id and not ended.wait(0.005):
            pass
        if not ended.wait(asked.chance.uniform(0, MOMENT)) and (process := worker._proc):
            os.kill(process.pid, signal.SIGKILL if kind == "crash" else signal.SIGSTOP)
            if kind == "pause":
                time.sleep(asked.chance.uniform(0, PAUSE))
                os.kill(process.pid, signal.SIGCONT)

    threading.Thread(target=strike, daemon=True).start()
    if kind == "hang":
        worker.config = own | {"Timeout": HANG}
    try:
        reply = call()
    finally:
        worker.config = own
        ended.set()
    if kind != "pause" and reply.get("status") == "ok":
        worker._teardown()
        name = "Runtime.ExitError" if kind == "crash" else "Sandbox.Timedout"
        text = "nobody heard the reply"
        reply = {"status": "error", "error": text, "log": reply.get("log", ""),
                 "error_payload": {"errorMessage": text, "errorType": name}}
    return reply


def install() -> None:
    """Puts all of this in its place."""
    replace(before, dynamodb, handle_request=handle_request)
    replace(before, ProvidedWorker, invoke=invoke)
