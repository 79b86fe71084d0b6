#!/usr/bin/env python3
"""A function of the control plane that does nothing: it answers as a test wrote it down, and writes down what it
was asked. Run by the emulator of Lambda as a `bootstrap`; started by scripts/walk.py.

Below WALKS there is a folder for each transfer with `plan.json`: for each function its replies, one after the
other, the last one again and again; a reply that is a text is the name of the error that it fails with. The
execution that waits is answered as `answers` says, in the same way: `copied`, the name of an error, or
`held`: then it is not answered before `watch` is told of an error, which it fails with.
"""

import fcntl
import json
import os
import pathlib
import threading
import urllib.request

RUNTIME = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation"
FUNCTION = os.environ["FUNCTION"]


def post(url: str, body: object, headers: dict[str, str] | None = None) -> None:
    request = urllib.request.Request(url, json.dumps(body).encode(), headers or {})
    urllib.request.urlopen(request).read()


def tell(token: str, answer: str) -> None:
    """Answers the execution that waits."""
    action = "SendTaskSuccess" if answer == "copied" else "SendTaskFailure"
    body = {"taskToken": token}
    body |= {"output": "{}"} if answer == "copied" else {"error": answer, "cause": "as planned"}
    post(os.environ["STATES"], body, {
        "X-Amz-Target": f"AWSStepFunctions.{action}",
        "Content-Type": "application/x-amz-json-1.0",
        "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/states/aws4_request, "
                         "SignedHeaders=host, Signature=none"})


def asked(folder: pathlib.Path, name: str, call: list) -> int:
    """Writes a call down; how many there were of this name before."""
    with (folder / "calls").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        before = [json.loads(line)[0] for line in file]
        file.write(json.dumps([name, *call]) + "\n")
        return before.count(name)


def answered(event: dict) -> object:
    folder = pathlib.Path(os.environ["WALKS"]) / event["transfer"]
    plan = json.loads((folder / "plan.json").read_text())
    token, error = event.pop("token", None), event.get("error")
    name = "wait" if token else FUNCTION
    number = asked(folder, name, [event])
    if token:
        answers = plan["answers"]
        answer = answers[min(number, len(answers) - 1)]
        if answer == "held":
            (folder / "token").write_text(token)
        else:
            # After this function has answered, as whoever watches would.
            threading.Timer(0.2, tell, (token, answer)).start()
    if FUNCTION == "watch":
        if error:
            (folder / "error").write_text(error["Error"])
        held, known = folder / "token", folder / "error"
        if held.exists() and known.exists():
            threading.Timer(0.2, tell, (held.read_text(), known.read_text())).start()
        return {}
    replies = plan.get(FUNCTION, [{"done": True}])
    return replies[min(number, len(replies) - 1)]


def main() -> None:
    while True:
        with urllib.request.urlopen(f"{RUNTIME}/next") as reply:
            request, event = reply.headers["Lambda-Runtime-Aws-Request-Id"], json.load(reply)
        answer = answered(event)
        if isinstance(answer, str):
            error = {"errorType": answer, "errorMessage": f"{answer}, as planned"}
            post(f"{RUNTIME}/{request}/error", error)
        else:
            post(f"{RUNTIME}/{request}/response", answer)


main()
