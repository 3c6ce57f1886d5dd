#!/usr/bin/env python3
"""How fast the queue is, as ratios to a bare SQLite commit loop on the same disk in the same run.

    cargo build --release && tests/bench/queue_rates.py [--n 3000] [--weir target/release/weir]

Prints, each per second: bare durable commits; submits over one kept connection; tasks submitted 100 at a time; tasks drained by two
workers that complete and take the next in one call; tasks drained as a process each (/bin/true, two slots). Every answer is durable.
Start-up and places with many queued tasks: --queued 1000000.
"""
import argparse, http.client, json, os, signal, socket, sqlite3, subprocess, sys, tempfile, threading, time


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("weir", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)

    def call(self, verb, path, body=None):
        self.request(verb, path, json.dumps(body) if body is not None else None, {"content-type": "application/json"})
        answer = self.getresponse()
        text = answer.read()
        if answer.status >= 300:
            sys.exit(f"{verb} {path}: {answer.status} {text[:300]}")
        return json.loads(text)


def pool(name, extra, queue):
    return f"""apiVersion: weir.dev/v1
kind: WorkerPool
metadata: {{name: {name}}}
spec:
  {extra}
  queue: {queue}
"""


def bare(directory, n):
    db = sqlite3.connect(f"{directory}/bare.db", isolation_level=None)
    db.execute("pragma journal_mode=wal")
    db.execute("pragma synchronous=full")
    db.execute("create table t (id integer primary key, body text)")
    begin = time.monotonic()
    for i in range(n):
        db.execute("insert into t (body) values (?)", (json.dumps({"n": i}),))
    return n / (time.monotonic() - begin)


def weir(program, home):
    log = open(f"{home}/log", "w")
    daemon = subprocess.Popen([program, "run", "--specs", f"{home}/specs", "--state", f"{home}/state"], stdout=log, stderr=log)
    begin = time.monotonic()
    while True:
        try:
            conn = Unix(f"{home}/state/weir.sock")
            names = {p["metadata"]["name"] for p in conn.call("GET", "/apis/weir.dev/v1/workerpools")["items"]}
            if {"wait", "lease", "run"} <= names:
                return daemon, conn, time.monotonic() - begin
        except OSError:
            pass
        time.sleep(0.01)


def counts(conn, name):
    return conn.call("GET", f"/v1/pools/{name}/capacity")


def beside(home, n, connections):
    """Submits over several connections at once: what is joined in one commit."""
    each = n // connections
    def work():
        conn = Unix(f"{home}/state/weir.sock")
        for i in range(each):
            conn.call("POST", "/v1/pools/wait/tasks", {"payload": {"n": i}})
    begin = time.monotonic()
    threads = [threading.Thread(target=work) for _ in range(connections)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    return each * connections / (time.monotonic() - begin)


def leases(home, total):
    """Two workers of their own, as far as the daemon is concerned: complete and next in one call."""
    def work(n):
        conn = Unix(f"{home}/state/weir.sock")
        me = {"worker": f"lease-{n}", "run": 1, "wait": "5s"}
        task = conn.call("POST", "/v1/pools/lease/lease", me)["task"]
        while task:
            task = conn.call("POST", f"/v1/leases/{task['token']}/complete", {"next": {**me, "wait": "0s"}})["next"]
    begin = time.monotonic()
    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    return total / (time.monotonic() - begin)


def main():
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--n", type=int, default=3000)
    ask.add_argument("--queued", type=int, default=0)
    ask.add_argument("--weir", default="target/release/weir")
    args = ask.parse_args()
    with tempfile.TemporaryDirectory(prefix="weir-rates-") as home:
        os.makedirs(f"{home}/specs")
        os.makedirs(f"{home}/state", mode=0o700)
        capacity = max(10 * args.n, args.queued + 4 * args.n)
        specs = {
            "wait": pool("wait", 'replicas: 0\n  template: {command: ["true"]}', f"{{capacity: {capacity}}}"),
            "lease": pool("lease", 'replicas: 2\n  template: {command: [sleep, "1000"]}', f"{{delivery: Lease, capacity: {capacity}}}"),
            "run": pool("run", 'replicas: 2\n  template: {command: ["/bin/true"]}', f"{{capacity: {capacity}}}"),
        }
        for name, text in specs.items():
            open(f"{home}/specs/{name}.yaml", "w").write(text)
        floor = bare(home, args.n)
        print(f"bare durable commits        {floor:9.0f}/s")
        show = lambda what, rate: print(f"{what:<27} {rate:9.0f}/s   {rate / floor:5.2f} of bare", flush=True)
        daemon, conn, _ = weir(os.path.abspath(args.weir), home)
        try:
            begin = time.monotonic()
            for i in range(args.n):
                conn.call("POST", "/v1/pools/wait/tasks", {"payload": {"n": i}})
            show("submits, one connection", args.n / (time.monotonic() - begin))
            show("submits, 16 connections", beside(home, args.n, 16))
            many = max(args.n, args.queued) // 100
            begin = time.monotonic()
            for i in range(many):
                conn.call("POST", "/v1/pools/wait/tasks", [{"payload": {"n": n}} for n in range(100)])
            show("submits, 100 at a time", 100 * many / (time.monotonic() - begin))
            for i in range(args.n // 100):
                conn.call("POST", "/v1/pools/lease/tasks", [{"payload": {"n": n}} for n in range(100)])
            show("drained by two workers", leases(home, args.n // 100 * 100))
            begin = time.monotonic()
            for i in range(args.n // 100):
                conn.call("POST", "/v1/pools/run/tasks", [{"payload": {"n": n}} for n in range(100)])
            while (now := counts(conn, "run"))["queued"] + now["running"]:
                time.sleep(0.05)
            show("a process for each", args.n // 100 * 100 / (time.monotonic() - begin))
            if args.queued:
                took = []
                for i in range(300):
                    begin = time.monotonic()
                    conn.call("POST", "/v1/pools/wait/tasks", {"payload": {"n": i}})
                    took.append(1000 * (time.monotonic() - begin))
                took.sort()
                def timed(words, verb, path):
                    begin = time.monotonic()
                    conn.call(verb, path)
                    print(f"{words}: {1000 * (time.monotonic() - begin):.1f} ms")
                timed("list of 500 of them", "GET", "/v1/tasks?pool=wait&state=Leased,Queued,Held&limit=500")
                timed("list of 500 of all pools", "GET", "/v1/tasks?limit=500")
                timed("the one in the middle", "GET", f"/v1/tasks/{args.n + args.queued // 2}")
                rss = int(open(f"/proc/{daemon.pid}/statm").read().split()[1]) * 4 // 1024
                print(f"with {args.queued} queued: submit p50 {took[150]:.2f} ms, p99 {took[297]:.2f} ms, daemon {rss} MiB resident")
                daemon.send_signal(signal.SIGKILL)
                daemon.wait()
                daemon, conn, took = weir(os.path.abspath(args.weir), home)
                print(f"started again with them in {took:.2f} s")
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(60)


if __name__ == "__main__":
    main()
