"""EventBridge Scheduler as far as schedules depend on it, where MiniStack 1.5.33 does something else:

- in a target's input `<aws.scheduler.scheduled-time>` is the time at which the schedule fires
"""

import time

import ministack.services.eventbridge as service
from replacing import replace

TIME = "<aws.scheduler.scheduled-time>"

# What is in the place of MiniStack's own, by name.
before: dict = {}


def invoke_target(target, event, *rest):
    if event.get("Source") == "aws.scheduler" and TIME in target.get("Input", ""):
        told = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(event["Time"]))
        target = target | {"Input": target["Input"].replace(TIME, told)}
    return before["_invoke_target"](target, event, *rest)


def install() -> None:
    """Puts it in its place."""
    replace(before, service, _invoke_target=invoke_target)
