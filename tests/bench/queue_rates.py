#!/usr/bin/env python3
"""How fast the queue is, as ratios to a bare SQLite commit loop on the same disk in the same run.

    cargo build --release && tests/bench/queue_rates.py [--n 3000] [--only one,process] [--rounds 3]

Prints, each per second: submits over one kept connection; as lines over one connection, each answered for itself, with so many that
are not answered yet (--ahead); over 16 connections; tasks submitted many at a time (--batch); tasks drained by two workers that
complete and take the next in one call; the same by lines of one connection each, with --tasks of them at a time in a worker's hands;
tasks drained as a process each (/bin/true, so many slots). Every answer is durable. Beside each
stands what the bare loop (one row, one durable commit) reached just before it, and the daemon's and its shims' CPU time for each task:
on a busy machine the rates move together, and the CPU time hardly. Of several rounds the medians.
Submits, claims, lists, memory and start-up with many queued tasks: --queued 1000000.
"""
import argparse, json, os, re, signal, socket, sqlite3, statistics, subprocess, sys, tempfile, threading, time

PIECES = ["one", "stream", "sixteen", "batched", "lease", "lines", "process"]
TICK = os.sysconf("SC_CLK_TCK")
LENGTH = re.compile(rb"\ncontent-length: *(\d+)\r", re.IGNORECASE)


class Unix:
    """A client that costs little: what is measured is the other side."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
        self.rest = b""

    def call(self, verb, path, body=None):
        return json.loads(self.send(verb, path, b"" if body is None else json.dumps(body).encode()))

    def send(self, verb, path, text):
        head = b"%s %s HTTP/1.1\r\nhost: weir\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self.sock.sendall(head % (verb.encode(), path.encode(), len(text)) + text)
        status, answer = self.answer()
        if status >= 300:
            sys.exit(f"{verb} {path}: {status} {answer[:300]}")
        return answer

    def answer(self):
        got = self.rest
        while (end := got.find(b"\r\n\r\n")) < 0:
            got += self.more()
        length = LENGTH.search(got, 0, end + 2)
        if length is None:
            sys.exit(f"an answer without a length: {got[:300]}")
        need = end + 4 + int(length[1])
        while len(got) < need:
            got += self.more()
        self.rest = got[need:]
        return int(got[9:12]), got[end + 4:need]

    def more(self):
        chunk = self.sock.recv(1 << 18)
        if not chunk:
            raise OSError("the daemon hung up")
        return chunk


def pool(name, extra, queue):
    return f"""apiVersion: weir.dev/v1
kind: WorkerPool
metadata: {{name: {name}}}
spec:
  {extra}
  queue: {queue}
"""


class Bare:
    """One row and one durable commit, again and again: what the disk gives."""

    def __init__(self, directory):
        self.db = sqlite3.connect(f"{directory}/bare.db", isolation_level=None)
        self.db.execute("pragma journal_mode=wal")
        self.db.execute("pragma synchronous=full")
        self.db.execute("create table t (id integer primary key, body text)")

    def rate(self, n):
        begin = time.monotonic()
        for i in range(n):
            self.db.execute("insert into t (body) values (?)", (json.dumps({"n": i}),))
        return n / (time.monotonic() - begin)


def cpu(root):
    """Seconds of CPU that a process, its children and those they have reaped have used."""
    used, parents = {}, {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(pid)] = int(fields[1])
        used[int(pid)] = sum(map(int, fields[11:15])) / TICK
    return sum(seconds for pid, seconds in used.items() if root in (pid, parents[pid]))


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


def one(home, conn, n):
    for i in range(n):
        conn.send("POST", "/v1/pools/wait/tasks", b'{"payload":{"n":%d}}' % i)


def stream(home, ahead, n):
    """Lines over one connection: so many are ahead of their answers."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(f"{home}/state/weir.sock")
    sock.sendall(b"POST /v1/pools/wait/tasks HTTP/1.1\r\nhost: weir\r\ncontent-type: application/x-ndjson\r\n"
                 b"transfer-encoding: chunked\r\n\r\n")
    sent, heard, last = 0, 0, b""
    while heard < n:
        more = min(n - sent, ahead - (sent - heard))
        if more:
            lines = b"".join(b'{"payload":{"n":%d}}\n' % i for i in range(sent, sent + more))
            sock.sendall(b"%x\r\n%s\r\n" % (len(lines), lines))
            sent += more
        got = last + sock.recv(1 << 18)
        if b'"kind":"Status"' in got:
            sys.exit(f"refused: {got[-400:]}")
        # Each answer is an object and the end of its line.
        heard += got.count(b"}\n")
        last = got[-1:]
    sock.close()


def sixteen(home, conn, n):
    """Submits over several connections at once: what is joined in one commit."""
    threads = [threading.Thread(target=one, args=(home, Unix(f"{home}/state/weir.sock"), n // 16)) for _ in range(16)]
    [t.start() for t in threads]
    [t.join() for t in threads]


def hundreds(name, conn, n, size=100):
    text = json.dumps([{"payload": {"n": n}} for n in range(size)]).encode()
    for _ in range(n // size):
        conn.send("POST", f"/v1/pools/{name}/tasks", text)


def lease(home, conn, n):
    """Two workers of their own, as far as the daemon is concerned: complete and next in one call."""
    def work(n):
        conn = Unix(f"{home}/state/weir.sock")
        me = {"worker": f"lease-{n}", "run": 1, "wait": "5s"}
        task = conn.call("POST", "/v1/pools/lease/lease", me)["task"]
        while task:
            task = conn.call("POST", f"/v1/leases/{task['token']}/complete", {"next": {**me, "wait": "0s"}})["next"]
    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    [t.start() for t in threads]
    [t.join() for t in threads]


def leased(path, pool, worker, many, mark=lambda: None):
    """A worker that has so many tasks with it, and says by lines of one connection that each is done and that it takes the next."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    me = json.dumps({"worker": worker, "run": 1, "wait": "0s"})
    say = [b'{"lease":%s}\n' % json.dumps({"worker": worker, "run": 1, "wait": "5s"}).encode()] * many
    sock.sendall(b"POST /v1/pools/%s/lease HTTP/1.1\r\nhost: weir\r\ncontent-type: application/x-ndjson\r\n"
                 b"transfer-encoding: chunked\r\n\r\n" % pool.encode())
    rest = b""
    while many:
        if say:
            text = b"".join(say)
            sock.sendall(b"%x\r\n%s\r\n" % (len(text), text))
            say = []
        chunk = sock.recv(1 << 18)
        if not chunk:
            sys.exit("the daemon hung up")
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            # Between them are the heads of the chunks and of the answer.
            if not line.startswith(b"{"):
                continue
            answer = json.loads(line)
            task = answer.get("next") or ("next" not in answer and answer.get("task"))
            if answer.get("kind") == "Status":
                sys.exit(f"refused: {answer}")
            if not task:
                many -= 1
                continue
            mark()
            say.append(b'{"token":"%s","complete":{"next":%s}}\n' % (task["token"].encode(), me.encode()))
    sock.close()


def lines(home, conn, n, many=8):
    threads = [threading.Thread(target=leased, args=(f"{home}/state/weir.sock", "lease", f"lease-{n}", many)) for n in range(2)]
    [t.start() for t in threads]
    [t.join() for t in threads]


def process(home, conn, n):
    while (now := counts(conn, "run"))["queued"] + now["running"]:
        time.sleep(0.02)


WORDS = {
    "one": "submits, one connection", "stream": "submits, lines of one", "sixteen": "submits, 16 connections",
    "batched": "submits, many at a time", "lease": "drained by two workers", "lines": "by their lines", "process": "a process for each",
}


def piece(name, home, daemon, conn, n, ahead=16, size=100, many=8):
    """How often a second, and the milliseconds of CPU for each."""
    queue = {"lease": "lease", "lines": "lease", "process": "run"}.get(name)
    if queue:
        conn.call("POST", f"/v1/pools/{queue}/queue/pause", {})
        hundreds(queue, conn, n)
    before, begin = cpu(daemon.pid), time.monotonic()
    if queue:
        conn.call("POST", f"/v1/pools/{queue}/queue/resume", {})
    work = {
        "one": one, "sixteen": sixteen, "lease": lease, "process": process,
        "lines": lambda home, conn, n: lines(home, conn, n, many),
        "stream": lambda home, conn, n: stream(home, ahead, n),
        "batched": lambda home, conn, n: hundreds("wait", conn, n, size),
    }
    work[name](home, conn, n)
    took = time.monotonic() - begin
    return n / took, 1000 * (cpu(daemon.pid) - before) / n


def many_queued(args, daemon, conn):
    def timed(*call):
        begin = time.monotonic()
        answer = conn.call(*call)
        return answer, 1000 * (time.monotonic() - begin)

    def told(words, took):
        took = sorted(took)
        print(f"{words}: p50 {took[len(took) // 2]:.2f} ms, p99 {took[len(took) * 99 // 100]:.2f} ms")
    print(f"with {args.queued} queued:")
    submits = [timed("POST", "/v1/pools/lease/tasks", {"payload": {"n": i}}) for i in range(500)]
    told("submit", [ms for _, ms in submits])
    last = submits[-1][0]["id"]
    me, claims = {"worker": "lease-0", "run": 1, "wait": "5s"}, []
    task = conn.call("POST", "/v1/pools/lease/lease", me)["task"]
    for _ in range(500):
        answer, ms = timed("POST", f"/v1/leases/{task['token']}/complete", {"next": {**me, "wait": "0s"}})
        task = answer["next"]
        claims.append(ms)
    told("complete and claim the next", claims)
    for words, path in [
        ("list of 500 of them", "/v1/tasks?pool=lease&state=Leased,Queued,Held&limit=500"),
        ("list of 500 of all pools", "/v1/tasks?limit=500"),
        ("the place of the one in the middle", f"/v1/tasks/{last - args.queued // 2}"),
    ]:
        print(f"{words}: {timed('GET', path)[1]:.1f} ms")
    rss = int(open(f"/proc/{daemon.pid}/statm").read().split()[1]) * 4 // 1024
    print(f"daemon: {rss} MiB resident")


def main():
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--n", type=int, default=3000)
    ask.add_argument("--rounds", type=int, default=1)
    ask.add_argument("--queued", type=int, default=0)
    ask.add_argument("--ahead", type=int, default=16, help="lines that are not answered yet")
    ask.add_argument("--tasks", type=int, default=8, help="that a worker has with it, where it talks by lines")
    ask.add_argument("--batch", type=int, default=100, help="tasks at a time; a part of 6400")
    ask.add_argument("--slots", type=int, default=2, help="of the pool with a process for each")
    ask.add_argument("--weir", default="target/release/weir")
    ask.add_argument("--only", default=",".join(PIECES), help=f"of {','.join(PIECES)}")
    args = ask.parse_args()
    n = args.n // 1600 * 1600 or 1600
    with tempfile.TemporaryDirectory(prefix="weir-rates-") as home:
        os.makedirs(f"{home}/specs")
        os.makedirs(f"{home}/state", mode=0o700)
        os.makedirs(f"{home}/bare/bare")
        capacity = (4 * args.rounds + 4) * (2 * n) + args.queued
        specs = {
            "wait": pool("wait", 'replicas: 0\n  template: {command: ["true"]}', f"{{capacity: {capacity}}}"),
            "lease": pool("lease", 'replicas: 2\n  template: {command: [sleep, "1000"]}', f"{{delivery: Lease, capacity: {capacity}}}"),
            "run": pool("run", f'replicas: {args.slots}\n  template: {{command: ["/bin/true"]}}', f"{{capacity: {capacity}}}"),
        }
        for name, text in specs.items():
            open(f"{home}/specs/{name}.yaml", "w").write(text)
        # Not where the daemon watches for its specs.
        bare = Bare(f"{home}/bare/bare")
        daemon, conn, _ = weir(os.path.abspath(args.weir), home)
        try:
            found = {name: [] for name in PIECES if name in args.only.split(",")}
            for _ in range(args.rounds):
                for name, rows in found.items():
                    floor = bare.rate(n // 4)
                    rate, used = piece(name, home, daemon, conn, 4 * n if name == "batched" else n, args.ahead, args.batch, args.tasks)
                    rows.append((rate, rate / floor, floor, used))
            for name, rows in found.items():
                rate, ratio, floor, used = (statistics.median(column) for column in zip(*rows))
                print(f"{WORDS[name]:<27}{rate:7.0f}/s {ratio:6.2f} of bare ({floor:5.0f}/s) {used:6.3f} ms CPU each", flush=True)
            if args.queued:
                hundreds("lease", conn, args.queued)
                many_queued(args, daemon, conn)
                daemon.send_signal(signal.SIGKILL)
                daemon.wait()
                daemon, conn, took = weir(os.path.abspath(args.weir), home)
                print(f"started again with them in {took:.2f} s")
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(60)


if __name__ == "__main__":
    main()
