#!/usr/bin/env python3
"""What makes machines of an emulated EC2 run: each instance that the emulator tells of becomes a network
namespace with its private address and an instance metadata service, and runs its user data there. What its
security groups do not let in is dropped.

    hypervisor.py ENDPOINT BRIDGE DIRECTORY

Run as root in the namespace that holds the bridge, by a Python that has boto3. A machine sees the files of this
one, but what it writes to /opt and /etc/systemd is its own. `systemctl start UNIT` runs the unit's command until
it ends, as the unit says (restarts, power off); `shutdown` and `poweroff` end the machine as its
`InstanceInitiatedShutdownBehavior` says.

Faults, by files in DIRECTORY:

- `ID.interrupt`: the notice that a spot instance is to go, and its end SPOT_WARNING seconds later
- `ID.crash`: all its processes are killed, the emulator still tells that it runs
- `clocks`: by so many seconds are the clocks of machines wrong that boot from now on (needs libfaketime)

What a machine writes to its console is in `DIRECTORY/ID/console.log`.
"""

import argparse
import base64
import ctypes
import glob
import json
import os
import pathlib
import shutil
import signal
import socketserver
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3

IMDS = "169.254.169.254"
SPOT_WARNING = float(os.environ.get("SPOT_WARNING", "120"))
# Between two looks at what the emulator tells.
LOOK = 0.25
CLONE_NEWNET = 0x40000000

# Runs a unit's command as the unit says.
SYSTEMCTL = r"""#!/bin/bash
[[ ${1:-} == start ]] || exit 0
unit=/etc/systemd/system/$2.service
setting() { sed -n "s/^$1=//p" "$unit" | head -n 1; }
export $(sed -n 's/^Environment=//p' "$unit")
(
    for _ in $(seq "$(setting StartLimitBurst)"); do
        $(setting ExecStart)
        code=$?
        [[ $code == 0 && $(setting SuccessAction) == poweroff ]] && exec poweroff
        [[ $code == 0 || $(setting Restart) != on-failure ]] && break
        sleep "$(setting RestartSec)"
    done
    [[ $(setting StartLimitAction) == poweroff ]] && exec poweroff
) &
"""
# Everything that a machine may be sent: answers, what it says to itself, and what its groups let in.
FILTER = """flush ruleset
table inet groups {{
    chain input {{
        type filter hook input priority 0; policy drop;
        ct state established,related accept
        iif lo accept
        {rules}
    }}
}}
"""
# What gives a process another time of day; its monotonic clock stays right.
FAKETIME = "/usr/lib/*/faketime/libfaketimeMT.so.1"
POWER = "#!/bin/sh\ntouch '{flag}'\nexec sleep infinity\n"


def sh(command: str, check: bool = True) -> str:
    done = subprocess.run(command, shell=True, check=check, capture_output=True, text=True)
    return done.stdout


def let_in(permission: dict) -> list[str]:
    """The packet filter's rules of one permission of a security group."""
    protocol = permission["IpProtocol"]
    first, last = permission.get("FromPort", -1), permission.get("ToPort", -1)
    what = {"-1": "", "tcp": f"tcp dport {first}-{last}", "udp": f"udp dport {first}-{last}",
            "icmp": "ip protocol icmp"}[protocol]
    return [f"ip saddr {each['CidrIp']} {what} accept" for each in permission.get("IpRanges", [])]


class Server(ThreadingHTTPServer):
    """A server that asks no name service who it is."""

    daemon_threads = True

    def server_bind(self) -> None:
        self.server_name, self.server_port = "imds", 80
        socketserver.TCPServer.server_bind(self)


class Machine:
    """One instance."""

    def __init__(self, host: "Hypervisor", instance: dict) -> None:
        self.host, self.instance = host, instance
        self.id, self.address = instance["InstanceId"], instance["PrivateIpAddress"]
        self.namespace, self.notice, self.process = f"vm-{self.id[2:10]}", None, None
        self.directory = host.directory / self.id
        (self.directory / "bin").mkdir(parents=True, exist_ok=True)
        self.user_data = base64.b64decode(self._attribute("userData", "UserData") or "")
        self.at_shutdown = self._attribute("instanceInitiatedShutdownBehavior",
                                           "InstanceInitiatedShutdownBehavior")
        # Of the role of its profile, where the emulator enforces what roles may.
        own = {"AccessKeyId": host.access, "SecretAccessKey": host.secret, "Token": ""}
        told = self._attribute("kernel", "KernelId") if host.enforced else None
        self.credentials = json.loads(told) if told else own
        self._network()
        self.let_in = None
        self.filter(host.groups())
        ready = threading.Event()
        self.server = None
        threading.Thread(target=self._metadata, args=(ready,), daemon=True).start()
        ready.wait(5)
        self._boot()

    def _attribute(self, attribute: str, key: str) -> str | None:
        told = self.host.ec2.describe_instance_attribute(InstanceId=self.id, Attribute=attribute)
        return told.get(key, {}).get("Value")

    def _network(self) -> None:
        inside, outside = f"ip -n {self.namespace}", f"v{self.id[2:10]}"
        prefix, gateway = self.host.prefix, self.host.gateway
        sh(f"ip netns add {self.namespace} && "
           f"ip link add {outside} type veth peer name eth0 netns {self.namespace} && "
           f"ip link set {outside} master {self.host.bridge} up && "
           f"{inside} addr add {self.address}/{prefix} dev eth0 && {inside} link set eth0 up && "
           f"{inside} link set lo up && {inside} addr add {IMDS}/32 dev lo && "
           f"{inside} route add default via {gateway}")

    def filter(self, groups: dict[str, list[str]]) -> None:
        """Lets in what the groups of the machine do."""
        own = [group["GroupId"] for group in self.instance.get("SecurityGroups", [])]
        rules = "\n        ".join(sorted({rule for group in own for rule in groups.get(group, [])}))
        if rules != self.let_in:
            subprocess.run(["ip", "netns", "exec", self.namespace, "nft", "-f", "-"], check=True,
                           text=True, input=FILTER.format(rules=rules))
            self.let_in = rules

    def _boot(self) -> None:
        flag = self.host.directory / f"{self.id}.poweroff"
        commands = {name: POWER.format(flag=flag) for name in ("shutdown", "poweroff")}
        commands |= {"systemctl": SYSTEMCTL, "modprobe": "#!/bin/sh\n", "sysctl": "#!/bin/sh\n"}
        for name, text in commands.items():
            path = self.directory / "bin" / name
            path.write_text(text)
            path.chmod(0o755)
        script = self.directory / "user-data"
        script.write_bytes(self.user_data)
        if not self.user_data.startswith(b"#!"):
            return
        private = "; ".join(f"mkdir -p {path} && mount -t tmpfs tmpfs {path}"
                            for path in ("/opt", "/etc/systemd/system", "/etc/sysctl.d"))
        environment = {
            "PATH": f"{self.directory}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.directory),
            "AWS_ENDPOINT_URL": self.host.endpoint.replace("127.0.0.1", self.host.gateway),
        }
        environment |= {name: os.environ[name] for name in ("AWS_ENDPOINT_URL_S3",)
                        if name in os.environ}
        if seconds := self.host.clocks():
            (library,) = glob.glob(FAKETIME)
            private += (f"; export FAKETIME={seconds:+d}s DONT_FAKE_MONOTONIC=1 "
                        f"FAKETIME_DONT_FAKE_MONOTONIC=1 LD_PRELOAD={library}")
        with (self.directory / "console.log").open("ab") as console:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", self.namespace, "unshare", "--mount", "bash", "-c",
                 f"{private}; exec bash {script}"],
                cwd=self.directory, env=environment, stdin=subprocess.DEVNULL, stdout=console,
                stderr=console, start_new_session=True)

    def _about(self) -> dict[str, str | bytes]:
        instance, role = self.instance, "gateway"
        later = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
        zone = instance["Placement"]["AvailabilityZone"]
        credentials = {"Code": "Success", "Type": "AWS-HMAC", "Expiration": later,
                       "LastUpdated": later, **self.credentials}
        about = {
            "meta-data/instance-id": self.id,
            "meta-data/local-ipv4": self.address,
            "meta-data/instance-type": instance["InstanceType"],
            "meta-data/placement/availability-zone": zone,
            "meta-data/placement/region": zone[:-1],
            "meta-data/iam/security-credentials": role,
            f"meta-data/iam/security-credentials/{role}": json.dumps(credentials),
            "user-data": self.user_data,
        }
        if self.notice:
            notice = {"action": "terminate", "time": self.notice}
            about["meta-data/spot/instance-action"] = json.dumps(notice)
        return about

    def _metadata(self, ready: threading.Event) -> None:
        machine = self
        inside = os.open(f"/run/netns/{self.namespace}", os.O_RDONLY)
        if ctypes.CDLL(None, use_errno=True).setns(inside, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        os.close(inside)

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def answer(self, body: str | bytes, code: int = 200) -> None:
                body = body if isinstance(body, bytes) else body.encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("X-aws-ec2-metadata-token-ttl-seconds", "21600")
                self.end_headers()
                self.wfile.write(body)

            def do_PUT(self) -> None:
                self.answer(f"session-{machine.id}")

            def do_GET(self) -> None:
                if self.headers.get("X-aws-ec2-metadata-token") != f"session-{machine.id}":
                    return self.answer("", 401)
                path = self.path.removeprefix("/latest/").rstrip("/")
                about = machine._about()
                return self.answer(about[path]) if path in about else self.answer("", 404)

        self.server = Server((IMDS, 80), Handler)
        ready.set()
        self.server.serve_forever()

    def interrupt(self) -> None:
        """The notice, and the end after it."""
        self.notice = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + SPOT_WARNING))
        timer = threading.Timer(SPOT_WARNING, self.host.terminate, (self.id,))
        timer.daemon = True
        timer.start()

    def kill(self) -> None:
        """Ends all its processes, as a power cut would."""
        for pid in sh(f"ip netns pids {self.namespace}", check=False).split():
            if int(pid) != os.getpid():
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    pass

    def stop(self) -> None:
        """Nothing is left of it but its console."""
        self.kill()
        if self.process:
            self.process.wait()
        if self.server:
            self.server.shutdown()
            self.server.server_close()
        sh(f"ip link del v{self.id[2:10]}", check=False)
        sh(f"ip netns del {self.namespace}", check=False)


class Hypervisor:
    """All machines of one region."""

    def __init__(self, endpoint: str, bridge: str, directory: pathlib.Path, region: str) -> None:
        self.endpoint, self.bridge, self.directory = endpoint, bridge, directory
        self.enforced = os.environ.get("AUTH") == "true"
        self.access = os.environ.get("AWS_ACCESS_KEY_ID", "test")
        self.secret = os.environ.get("AWS_SECRET_ACCESS_KEY", "test")
        self.ec2 = boto3.client("ec2", endpoint_url=endpoint, region_name=region,
                                aws_access_key_id=self.access, aws_secret_access_key=self.secret)
        address = json.loads(sh(f"ip -j -4 addr show dev {bridge}"))[0]["addr_info"][0]
        self.gateway, self.prefix = address["local"], address["prefixlen"]
        self.machines: dict[str, Machine] = {}

    def groups(self) -> dict[str, list[str]]:
        """What each security group lets in, as rules of the packet filter."""
        told = self.ec2.get_paginator("describe_security_groups").paginate()
        return {group["GroupId"]: [rule for permission in group["IpPermissions"]
                                   for rule in let_in(permission)]
                for page in told for group in page["SecurityGroups"]}

    def clocks(self) -> int:
        """By how many seconds the clocks of machines that boot now are wrong."""
        path = self.directory / "clocks"
        return int(path.read_text()) if path.exists() else 0

    def terminate(self, machine: str) -> None:
        self.ec2.terminate_instances(InstanceIds=[machine])

    def _flag(self, machine: str, name: str) -> bool:
        path = self.directory / f"{machine}.{name}"
        if path.exists():
            path.unlink()
            return True
        return False

    def look(self) -> None:
        """Makes what runs what the emulator tells."""
        alive = {"Name": "instance-state-name", "Values": ["pending", "running"]}
        wanted = {}
        for page in self.ec2.get_paginator("describe_instances").paginate(Filters=[alive]):
            for reservation in page["Reservations"]:
                wanted |= {one["InstanceId"]: one for one in reservation["Instances"]}
        for name in [name for name in self.machines if name not in wanted]:
            self.machines.pop(name).stop()
            print(f"{time.time():.1f} gone {name}", flush=True)
        for name, instance in wanted.items():
            if name not in self.machines:
                self.machines[name] = Machine(self, instance)
                print(f"{time.time():.1f} runs {name} {instance['PrivateIpAddress']}", flush=True)
        groups = self.groups() if self.machines else {}
        for name, machine in list(self.machines.items()):
            machine.filter(groups)
            if self._flag(name, "interrupt"):
                machine.interrupt()
            if self._flag(name, "crash"):
                machine.kill()
            if self._flag(name, "poweroff"):
                if machine.at_shutdown == "terminate":
                    self.terminate(name)
                else:
                    self.ec2.stop_instances(InstanceIds=[name])

    def run(self) -> None:
        try:
            while True:
                try:
                    self.look()
                except Exception as error:  # the emulator may be starting, or gone: look again
                    print(f"{type(error).__name__}: {error}", flush=True)
                time.sleep(LOOK)
        finally:
            for machine in self.machines.values():
                machine.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("endpoint", help="of the emulator, as this process reaches it")
    parser.add_argument("bridge", help="that machines are connected to")
    parser.add_argument("directory", type=pathlib.Path, help="consoles, and files that ask for faults")
    parser.add_argument("--region", default="us-east-1")
    options = parser.parse_args()
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("nft"):
        sys.exit("hypervisor.py: needs root, ip of iproute2 and nft of nftables")
    options.directory.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    Hypervisor(options.endpoint, options.bridge, options.directory.resolve(), options.region).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
