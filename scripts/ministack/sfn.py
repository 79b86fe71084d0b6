"""Step Functions as far as the state machines here depend on it, where MiniStack 1.5.33 does something else:

- a task that waits with a token fails with `States.HeartbeatTimeout` if no heartbeat comes in time
- of a Parallel's branches the first that fails ends the others, and so does the end of the execution
- data of a state over 256 KiB is `States.DataLimitExceeded`
- a task's `TimeoutSeconds` may be an expression
- a state machine's `TimeoutSeconds` ends its executions; the first end of an execution counts
- an execution that is started again with the same name and input, while it runs, is the same

Still different from the service: a token that nobody waits with any more is `TaskDoesNotExist`, whatever
became of it.
"""

import contextvars
import copy
import json
import queue
import threading
import time

import faults
import ministack.services.stepfunctions as service
from replacing import replace

Failed = service._ExecutionError

# Bytes of the data of one state.
LIMIT = 256 * 1024

# Of the thread's execution: its ARN, the Parallels that it is inside of, the task that waits with a token.
execution: contextvars.ContextVar[str] = contextvars.ContextVar("execution", default="")
scopes: contextvars.ContextVar[tuple] = contextvars.ContextVar("scopes", default=())
waiting: contextvars.ContextVar[tuple] = contextvars.ContextVar("waiting", default=())

# What is in the place of MiniStack's own, by name.
before: dict = {}


class Beats(threading.Event):
    """What a task with a token waits for; it fails when its heartbeats stop."""

    def wait(self, timeout=None):
        token, state = waiting.get() or ("", {})
        most = state.get("HeartbeatSeconds")
        if not most:
            return super().wait(timeout)
        end = time.monotonic() + (timeout or float("inf"))
        beaten, last = None, time.monotonic()
        while not super().wait(0.05):
            now = time.monotonic()
            told = (service._task_tokens.get(token) or {}).get("heartbeat")
            if told != beaten:
                beaten, last = told, now
            if now > end:
                return False
            if now - last > most:
                service._task_tokens.pop(token, None)
                raise Failed("States.HeartbeatTimeout", f"no heartbeat for {most} seconds")
        return True


class Threads:
    """The module `threading` with other events."""

    Event = Beats

    def __getattr__(self, name):
        return getattr(threading, name)


def invoke_with_callback(resource, payload, token, state, *rest):
    reset = waiting.set((token, state))
    try:
        return before["_invoke_with_callback"](resource, payload, token, state, *rest)
    finally:
        waiting.reset(reset)


def send_task_heartbeat(request):
    reply = before["_send_task_heartbeat"](request)
    if told := service._task_tokens.get(request.get("taskToken")):
        # MiniStack keeps whole seconds.
        told["heartbeat"] = time.monotonic()
    return reply


def ensure_alive():
    """Fails if the execution has ended, or a sibling of a branch that this is in has failed."""
    found = service._executions.get(execution.get())
    ended = found is not None and found["status"] != "RUNNING"
    if ended or any(scope["failed"] for scope in scopes.get()):
        raise Failed("States.Runtime", "aborted")


def guarded(name):
    """A state of some type, ended when it should be."""

    def execute(state, data, *rest):
        ensure_alive()
        if isinstance(state.get("TimeoutSeconds"), str):
            seconds = service._jsonata_state_field(state, "TimeoutSeconds", "number", data, rest[-1])
            state = {**state, "TimeoutSeconds": seconds}
        output, following = before[name](state, data, *rest)
        ensure_alive()
        if len(json.dumps(output).encode()) > LIMIT:
            raise Failed("States.DataLimitExceeded",
                         "The state/task returned a result with a size exceeding the maximum "
                         "number of bytes service limit.")
        return output, following

    return execute


def run_sub_machine(*arguments):
    try:
        return before["_run_sub_machine"](*arguments)
    except BaseException as error:
        if scopes.get() and not scopes.get()[-1]["failed"]:
            scopes.get()[-1]["failed"] = error
        raise


def run_parallel_branches(state, data, own, context):
    """Branches in threads of their own; the first failure is the state's."""
    reset = scopes.set((*scopes.get(), {"failed": None}))
    try:
        return parallel(state, data, own, context)
    finally:
        scopes.reset(reset)


def parallel(state, data, own, context):
    is_jsonata = service._state_query_language(state, context) == "JSONata"
    if is_jsonata:
        given = service._apply_jsonata_arguments(state, data, context)
    else:
        given = service._apply_parameters(
            state, service._apply_input_path(state, data, context), context)
    ended: queue.Queue = queue.Queue()

    def run(number, branch):
        try:
            output = service._run_sub_machine(
                branch["States"], branch["StartAt"], given, own, copy.deepcopy(context))
            ended.put((number, output, None))
        except Failed as error:
            ended.put((number, None, error))
        except Exception as error:  # whatever it is, the branch has failed
            ended.put((number, None, Failed("States.BranchFailed", str(error))))

    for number, branch in enumerate(state["Branches"]):
        inherited = contextvars.copy_context()
        threading.Thread(target=inherited.run, args=(run, number, branch), daemon=True).start()
    results = [None] * len(state["Branches"])
    for _ in results:
        number, output, error = ended.get()
        if error:
            raise error
        results[number] = output
    if is_jsonata:
        output = service._apply_jsonata_output(
            state, data, context, result=results, default=results)
        service._apply_state_assign(state, data, context, result=results)
    else:
        selected = service._apply_result_selector(state, results)
        merged = service._apply_result_path(state, data, selected)
        output = service._apply_output_path(state, merged, context)
    return output, service._next_or_end(state)


def fail_execution(found, error, cause):
    if found["status"] == "RUNNING":
        return before["_fail_execution"](found, error, cause)
    return None


def run_execution(arn):
    found = service._executions.get(arn)
    machine = service._state_machines.get(found["stateMachineArn"]) if found else None
    seconds = json.loads(machine["definition"]).get("TimeoutSeconds") if machine else None
    seconds = faults.seconds() or seconds

    def late():
        if found["status"] == "RUNNING":
            found.update(status="TIMED_OUT", stopDate=service.now_iso())
            service._add_event(found, "ExecutionTimedOut", {})
            service._emit_execution_status_event(found)

    # What a timer cannot count is never reached here.
    if seconds and seconds < threading.TIMEOUT_MAX:
        timer = threading.Timer(seconds, contextvars.copy_context().run, (late,))
        timer.daemon = True
        timer.start()
    reset = execution.set(arn)
    try:
        return before["_run_execution"](arn)
    finally:
        execution.reset(reset)


def start_execution(request):
    arn = service._resolve_state_machine_arn(request.get("stateMachineArn", "")) or ""
    machine = service._state_machines.get(arn)
    if machine and request.get("name"):
        own = (f"arn:aws:states:{service.get_region()}:{service.get_account_id()}:"
               f"execution:{machine['name']}:{request['name']}")
        known = service._executions.get(own)
        same = known and known["input"] == request.get("input", "{}")
        if same and known["status"] == "RUNNING":
            return service.json_response(
                {"executionArn": known["executionArn"], "startDate": known["startDate"]})
    return before["_start_execution"](request)


def install():
    """Puts all of it in the place of MiniStack's own."""
    own = {
        "_invoke_with_callback": invoke_with_callback,
        "_send_task_heartbeat": send_task_heartbeat,
        "_run_sub_machine": run_sub_machine,
        "_run_parallel_branches": run_parallel_branches,
        "_fail_execution": fail_execution,
        "_run_execution": run_execution,
        "_start_execution": start_execution,
    }
    states = ("task", "pass", "choice", "wait", "parallel", "map")
    own |= {name: guarded(name) for name in (f"_execute_{kind}" for kind in states)}
    replace(before, service, **own)
    service.threading = Threads()
