#!/usr/bin/env python3
"""What the API costs with many workers and many watchers. Standard library only.

  tests/bench/api.py [--workers 1000] [--watchers 100] [--lists 200] [--changes 50] [--requests 100000] [--bin target/release]

list       GET of all workers, one at a time, while all watchers watch: p50, p99
one        GET of one worker: p50, p99
fan-out    from a PATCH of a label to the line that tells of it, at each of the watchers: p50, p99, and the last of them
memory     the daemon's resident memory before and after so many GETs, over 8 connections
The client shares the two cores with the daemon: what it costs to parse is not counted, what it costs to wake it is.
"""
import argparse
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time


class Local(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("weir")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)

    def ask(self, method, path, body=None, kind="application/json"):
        self.request(method, path, body, {"content-type": kind})
        answer = self.getresponse()
        return answer.status, answer.read()


def spread(times):
    times = sorted(times)
    at = lambda share: times[min(len(times) - 1, int(len(times) * share))] * 1e3
    return f"p50 {at(.5):.2f} ms, p99 {at(.99):.2f} ms, most {times[-1] * 1e3:.2f} ms"


def resident(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmRSS"))


class Watcher(threading.Thread):
    """Notes when it hears of each number that the label was set to."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.heard, self.sock = {}, socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
        self.sock.sendall(b"GET /apis/weir.dev/v1/workerpools?watch=1 HTTP/1.1\r\nhost: weir\r\n\r\n")

    def run(self):
        rest = b""
        while data := self.sock.recv(1 << 16):
            now = time.monotonic()
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                at = line.find(b'"turn":"')
                if at >= 0:
                    self.heard.setdefault(int(line[at + 8:line.index(b'"', at + 8)]), now)


def main():
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, number in (("workers", 1000), ("watchers", 100), ("lists", 200), ("changes", 50), ("requests", 100_000)):
        flags.add_argument(f"--{name}", type=int, default=number)
    flags.add_argument("--bin", default="target/release")
    given = flags.parse_args()
    home = tempfile.mkdtemp(prefix="weir-api-")
    os.mkdir(f"{home}/specs")
    with open(f"{home}/specs/w.yaml", "w") as file:
        file.write(f"apiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {{name: w, labels: {{turn: \"0\"}}}}\nspec:\n"
                   f"  replicas: {given.workers}\n  template: {{command: [sleep, \"1000000\"]}}\n")
    log = open(f"{home}/log", "w")
    began = time.monotonic()
    daemon = subprocess.Popen([f"{given.bin}/weir", "run", "--specs", f"{home}/specs", "--state", f"{home}/state"], stdout=log, stderr=log)
    try:
        path = f"{home}/state/weir.sock"
        while not os.path.exists(path):
            time.sleep(0.01)
        api, pools = Local(path), "/apis/weir.dev/v1/workerpools"
        ready = 0
        while ready != given.workers:
            time.sleep(0.1)
            code, pool = api.ask("GET", f"{pools}/w")
            ready = json.loads(pool)["status"].get("readyReplicas") if code == 200 else 0
        print(f"{given.workers} workers ready after {time.monotonic() - began:.1f} s, {resident(daemon.pid):.0f} MiB")
        watchers = [Watcher(path) for _ in range(given.watchers)]
        for watcher in watchers:
            watcher.start()
        time.sleep(1)

        def timed(path, count):
            times = []
            for _ in range(count):
                at = time.monotonic()
                status, body = api.ask("GET", path)
                times.append(time.monotonic() - at)
                assert status == 200
            return f"{spread(times)}, {len(body) / 1024:.1f} KiB"

        print(f"list of {given.workers}: {timed('/apis/weir.dev/v1/workers', given.lists)}")
        print(f"one: {timed('/apis/weir.dev/v1/workers/w-7', given.lists * 5)}")
        told, last = [], []
        for turn in range(1, given.changes + 1):
            at = time.monotonic()
            status, body = api.ask("PATCH", f"{pools}/w", json.dumps({"metadata": {"labels": {"turn": str(turn)}}}), "application/merge-patch+json")
            assert status == 200, body
            until = at + 10
            while not all(turn in watcher.heard for watcher in watchers):
                assert time.monotonic() < until, f"change {turn} was not heard by all"
                time.sleep(0.001)
            times = [watcher.heard[turn] - at for watcher in watchers]
            told += times
            last.append(max(times))
        print(f"fan-out to {given.watchers}: {spread(told)}; the last of them: {spread(last)}")

        def load(count):
            mine = Local(path)
            for _ in range(count):
                assert mine.ask("GET", f"{pools}/w")[0] == 200

        def all_of(count):
            threads = [threading.Thread(target=load, args=(count // 8,)) for _ in range(8)]
            at = time.monotonic()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return count / (time.monotonic() - at)

        all_of(given.requests // 10)
        before = resident(daemon.pid)
        rate = all_of(given.requests)
        print(f"memory: {before:.1f} MiB, after {given.requests} requests ({rate:.0f}/s): {resident(daemon.pid):.1f} MiB")
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(120)
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
