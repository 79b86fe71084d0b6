#!/usr/bin/env python3
"""A long, lossy link between two network namespaces, for tests and benchmarks. Needs root.

The link is two TUN devices with a delay line in this process, because many kernels have no netem.
Prints one line of JSON when the link is up:

    {"near": {"namespace": "/run/netns/…", "address": "10.77.0.1"}, "far": {…}}

then reads commands from standard input, a line each: `cut` (every packet is lost), `heal`. At the end of
its input it removes both namespaces and ends. Which congestion control is used over it is the affair of
whoever opens sockets: machines have different defaults.
"""

import argparse
import ctypes
import fcntl
import heapq
import json
import os
import random
import re
import select
import signal
import struct
import subprocess
import sys
import time

NAMESPACES = "/run/netns"
PREFIX = "skyhaul"
ADDRESSES = {"near": "10.77.0.1", "far": "10.77.0.2"}
DEVICE = "wan0"

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000

# Packets read from a device before the other one has its turn.
BURST = 64
PACKET = 65_600
# A queue as a router has it: what would wait longer at the link's rate is dropped.
QUEUE_SECONDS = 0.2


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rtt", type=float, default=80, help="milliseconds there and back")
    parser.add_argument("--loss", type=float, default=1, help="per cent of packets, each way")
    parser.add_argument("--rate", type=float, default=0, help="Mbit/s each way; 0 is no limit")
    parser.add_argument("--seed", type=int, default=1, help="which packets are lost")
    return parser.parse_args()


def ip(*words):
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"wan: ip {' '.join(words)}: {done.stderr.strip()}")


def enter(namespace):
    """Moves this thread into a namespace: os.setns is newer than the Python that is everywhere."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(namespace, os.O_RDONLY)
    try:
        if libc.setns(descriptor, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
    finally:
        os.close(descriptor)


def device(namespace, address):
    """Makes the TUN device of one end; its packets are what is read and written here."""
    home = f"/proc/{os.getpid()}/ns/net"
    descriptor_of_home = os.open(home, os.O_RDONLY)
    try:
        enter(namespace)
        tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        request = struct.pack("16sH22x", DEVICE.encode(), IFF_TUN | IFF_NO_PI)
        fcntl.ioctl(tun, TUNSETIFF, request)
        ip("addr", "add", f"{address}/24", "dev", DEVICE)
        ip("link", "set", DEVICE, "mtu", "1500", "txqueuelen", "5000", "up")
        ip("link", "set", "lo", "up")
    finally:
        enter(f"/proc/self/fd/{descriptor_of_home}")
        os.close(descriptor_of_home)
    return tun


def remove_stale():
    """Removes namespaces of links whose process was killed."""
    names = os.listdir(NAMESPACES) if os.path.isdir(NAMESPACES) else []
    for name in names:
        found = re.fullmatch(rf"{PREFIX}-(\d+)-(near|far)", name)
        if found and not os.path.exists(f"/proc/{found[1]}"):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


class Link:
    """Both directions: packets wait in a heap for the moment at which they arrive."""

    def __init__(self, devices, options):
        self.devices = devices
        self.delay = options.rtt / 2_000
        self.loss = options.loss / 100
        self.bytes_per_second = options.rate * 125_000
        self.random = random.Random(options.seed)
        self.free = [0.0, 0.0]
        self.under_way = []
        self.count = 0
        self.is_cut = False

    def take(self, end):
        """Takes what one end sends."""
        for _ in range(BURST):
            try:
                packet = os.read(self.devices[end], PACKET)
            except BlockingIOError:
                return
            if self.is_cut or self.random.random() < self.loss:
                continue
            now = time.monotonic()
            leaves = max(now, self.free[end])
            if self.bytes_per_second:
                if leaves - now > QUEUE_SECONDS:
                    continue
                leaves += len(packet) / self.bytes_per_second
                self.free[end] = leaves
            self.count += 1
            heapq.heappush(self.under_way, (leaves + self.delay, self.count, 1 - end, packet))

    def bring(self):
        """Brings what is due; how long until the next is, in seconds."""
        while self.under_way:
            wait = self.under_way[0][0] - time.monotonic()
            if wait > 0:
                return wait
            _, _, end, packet = heapq.heappop(self.under_way)
            try:
                os.write(self.devices[end], packet)
            except (BlockingIOError, OSError):
                pass  # lost, as packets are
        return None

    def run(self, commands):
        """Works until the end of the commands."""
        while True:
            ready, _, _ = select.select([*self.devices, commands], [], [], self.bring())
            for end, tun in enumerate(self.devices):
                if tun in ready:
                    self.take(end)
            if commands in ready:
                text = os.read(commands, 4_096).decode()
                if not text:
                    return
                for command in text.split():
                    self.is_cut = command == "cut"
                    print(command, flush=True)


def main():
    options = arguments()
    if os.geteuid() != 0:
        sys.exit("wan: network namespaces need root")
    remove_stale()
    names = {end: f"{PREFIX}-{os.getpid()}-{end}" for end in ADDRESSES}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    made = []
    try:
        for name in names.values():
            ip("netns", "add", name)
            made.append(name)
        paths = {end: f"{NAMESPACES}/{name}" for end, name in names.items()}
        devices = [device(paths[end], address) for end, address in ADDRESSES.items()]
        ends = {end: {"namespace": paths[end], "address": ADDRESSES[end]} for end in ADDRESSES}
        print(json.dumps(ends), flush=True)
        Link(devices, options).run(sys.stdin.fileno())
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


if __name__ == "__main__":
    main()
