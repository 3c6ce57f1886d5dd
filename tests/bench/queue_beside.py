#!/usr/bin/env python3
"""The queue beside others, on the same tasks in one run: a bare loop over SQLite, huey with fsync, and weir.

    cargo build --release && tests/bench/queue_beside.py [--n 2000] [--rounds 5] [--weir target/release/weir] [--huey VENV] [--slots 2]

--huey: a virtual environment that has huey (python3 -m venv V && V/bin/pip install huey); without it there are two columns.
Each round: every one of them takes in so many tasks one at a time, then, where it can, as lines with 16 ahead of their answers and 100 at
a time, drains as many by two workers of its kind, then, where it can, by two that have 8 tasks with them, and as many with a process for
each, so many at once (--slots; the same for each of them). --only: the pieces with this in their name. Every commit is synced
(synchronous=FULL). A task does nothing but write down when it ran: the time stamps of the first and the last give the rate, the same
for all. Medians of the rounds, as they interleave.
The bare loop is what the disk and the system give: one commit for each task that is taken in, a claim and a done together in one where
workers drain (two processes), and a claim and a done of their own around a posix_spawn where each task is a process.
"""
import argparse, json, os, signal, sqlite3, statistics, struct, subprocess, sys, tempfile, time

import queue_rates as rates

MARK = r"""
#include <fcntl.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>
int main(int argc, char **argv) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  int64_t now = t.tv_sec * 1000000000LL + t.tv_nsec;
  int fd = argc > 1 ? open(argv[1], O_WRONLY | O_NONBLOCK) : -1;
  return fd < 0 || write(fd, &now, sizeof now) != sizeof now;
}
"""
HUEY = """
import os, struct, subprocess, time
from huey import SqliteHuey
huey = SqliteHuey("q", filename=os.environ["DB"], fsync=True, results=False)
fifo, mark_program, opened = os.environ["FIFO"], os.environ["MARK"], []

@huey.task()
def mark(n):
    if not opened:
        opened.append(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
    os.write(opened[0], struct.pack("q", time.monotonic_ns()))

@huey.task()
def process(n):
    subprocess.run([mark_program, fifo], stdin=subprocess.DEVNULL)
"""
SUBMIT = """
import os, sys, time, tasks
begin = time.monotonic()
for n in range(int(sys.argv[2])):
    getattr(tasks, sys.argv[1])(n)
print(int(sys.argv[2]) / (time.monotonic() - begin))
"""


class Marks:
    """What tasks write down."""

    def __init__(self, path):
        os.mkfifo(path)
        self.path, self.fd = path, os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def rate(self, n, begin, within=120):
        """Have `begin` start it; the rate of the next `n`."""
        begin()
        seen, until = [], time.monotonic() + within
        while len(seen) < n:
            if time.monotonic() > until:
                sys.exit(f"{len(seen)} of {n} tasks ran within {within} s")
            try:
                got = os.read(self.fd, 1 << 16)
                seen += [at for (at,) in struct.iter_unpack("q", got)]
            except BlockingIOError:
                time.sleep(0.002)
        return (n - 1) / ((max(seen) - min(seen)) / 1e9)


class Bare:
    lines = leased = None

    def __init__(self, home, marks, mark, slots):
        self.db, self.marks, self.mark, self.slots = f"{home}/bare.db", marks, mark, slots
        db = self.open()
        db.execute("pragma journal_mode=wal")
        db.execute("create table t (id integer primary key, state int not null default 0, body text)")
        db.execute("create index ts on t (state, id)")

    def open(self):
        db = sqlite3.connect(self.db, isolation_level=None, timeout=20)
        db.execute("pragma synchronous=full")
        return db

    def submit(self, n):
        db, begin = self.open(), time.monotonic()
        for i in range(n):
            db.execute("insert into t (body) values (?)", (json.dumps({"n": i}),))
        return n / (time.monotonic() - begin)

    def batched(self, n):
        db, begin = self.open(), time.monotonic()
        for at in range(0, n, 100):
            db.execute("begin immediate")
            db.executemany("insert into t (body) values (?)", [(json.dumps({"n": at + i}),) for i in range(100)])
            db.execute("commit")
        took = time.monotonic() - begin
        db.execute("delete from t where state = 0")
        return n / took

    def worker(self, process):
        claim = "update t set state = 1 where id = (select id from t where state = 0 order by id limit 1) returning id"
        db, fifo = self.open(), os.open(self.marks.path, os.O_WRONLY | os.O_NONBLOCK)
        done = None
        while True:
            if not process:
                db.execute("begin immediate")
                if done:
                    db.execute("update t set state = 2 where id = ?", done)
            row = db.execute(claim).fetchall()
            if not process:
                db.execute("commit")
            if not row:
                return
            done = row[0]
            if process:
                os.waitpid(os.posix_spawn(self.mark, [self.mark, self.marks.path], os.environ), 0)
                db.execute("update t set state = 2 where id = ?", done)
            else:
                os.write(fifo, struct.pack("q", time.monotonic_ns()))

    def drain(self, n, process):
        workers = []

        def begin():
            for _ in range(self.slots if process else 2):
                pid = os.fork()
                if pid == 0:
                    self.worker(process)
                    os._exit(0)
                workers.append(pid)
        self.submit(n)
        rate = self.marks.rate(n, begin)
        [os.waitpid(pid, 0) for pid in workers]
        return rate


class Huey:
    lines = batched = leased = None

    def __init__(self, home, marks, mark, slots, venv):
        self.slots = slots
        self.home, self.marks, self.bin = home, marks, os.path.abspath(f"{venv}/bin")
        self.env = {**os.environ, "DB": f"{home}/huey.db", "FIFO": marks.path, "MARK": mark, "PYTHONPATH": home}
        open(f"{home}/tasks.py", "w").write(HUEY)

    def put(self, task, n):
        told = subprocess.run([f"{self.bin}/python", "-c", SUBMIT, task, str(n)], env=self.env, cwd=self.home, capture_output=True, text=True)
        return float(told.stdout) if told.returncode == 0 else sys.exit(told.stderr)

    def submit(self, n):
        rate = self.put("mark", n)
        self.run(n, 2)
        return rate

    def drain(self, n, process):
        self.put("process" if process else "mark", n)
        return self.run(n, self.slots if process else 2)

    def run(self, n, workers):
        started = []

        def begin():
            command = [f"{self.bin}/huey_consumer", "tasks.huey", "-w", str(workers), "-k", "process", "-n", "-q"]
            started.append(subprocess.Popen(command, env=self.env, cwd=self.home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        rate = self.marks.rate(n, begin)
        started[0].send_signal(signal.SIGINT)
        started[0].wait(60)
        return rate


class Weir:
    def __init__(self, home, marks, mark, slots, program):
        self.home, self.marks = home, marks
        os.makedirs(f"{home}/specs")
        os.makedirs(f"{home}/state", mode=0o700)
        specs = {
            "wait": rates.pool("wait", 'replicas: 0\n  template: {command: ["true"]}', "{capacity: 10000000}"),
            "lease": rates.pool("lease", 'replicas: 2\n  template: {command: [sleep, "1000"]}', "{delivery: Lease, capacity: 10000000}"),
            "run": rates.pool("run", f'replicas: {slots}\n  template: {{command: ["{mark}", "{marks.path}"]}}', "{capacity: 10000000}"),
        }
        for name, text in specs.items():
            open(f"{home}/specs/{name}.yaml", "w").write(text)
        self.daemon, self.conn, _ = rates.weir(os.path.abspath(program), home)

    def submit(self, n):
        begin = time.monotonic()
        rates.one(self.home, self.conn, n)
        return n / (time.monotonic() - begin)

    def lines(self, n):
        begin = time.monotonic()
        rates.stream(self.home, 16, n)
        return n / (time.monotonic() - begin)

    def batched(self, n):
        begin = time.monotonic()
        rates.hundreds("wait", self.conn, n)
        return n / (time.monotonic() - begin)

    def worker(self, n):
        fifo, conn = os.open(self.marks.path, os.O_WRONLY | os.O_NONBLOCK), rates.Unix(f"{self.home}/state/weir.sock")
        me = {"worker": f"lease-{n}", "run": 1, "wait": "5s"}
        task = conn.call("POST", "/v1/pools/lease/lease", me)["task"]
        while task:
            os.write(fifo, struct.pack("q", time.monotonic_ns()))
            task = conn.call("POST", f"/v1/leases/{task['token']}/complete", {"next": {**me, "wait": "0s"}})["next"]

    def by_lines(self, n):
        fifo = os.open(self.marks.path, os.O_WRONLY | os.O_NONBLOCK)
        mark = lambda: os.write(fifo, struct.pack("q", time.monotonic_ns()))
        rates.leased(f"{self.home}/state/weir.sock", "lease", f"lease-{n}", 8, mark)

    def leased(self, n):
        return self.drain(n, False, self.by_lines)

    def drain(self, n, process, worker=None):
        pool, workers = "run" if process else "lease", []

        def begin():
            self.conn.call("POST", f"/v1/pools/{pool}/queue/resume", {})
            for i in range(0 if process else 2):
                pid = os.fork()
                if pid == 0:
                    (worker or self.worker)(i)
                    os._exit(0)
                workers.append(pid)
        self.conn.call("POST", f"/v1/pools/{pool}/queue/pause", {})
        rates.hundreds(pool, self.conn, n)
        rate = self.marks.rate(n, begin)
        [os.waitpid(pid, 0) for pid in workers]
        return rate


PIECES = {
    "taken in, one at a time": lambda one, n: one.submit(n),
    "taken in, as lines": lambda one, n: one.lines(4 * n) if one.lines else None,
    "taken in, 100 at a time": lambda one, n: one.batched(4 * n) if one.batched else None,
    "drained by two workers": lambda one, n: one.drain(n, False),
    "drained by two, 8 with each": lambda one, n: one.leased(2 * n) if one.leased else None,
    "drained, a process for each": lambda one, n: one.drain(n, True),
}


def main():
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--n", type=int, default=2000)
    ask.add_argument("--rounds", type=int, default=5)
    ask.add_argument("--weir", default="target/release/weir")
    ask.add_argument("--huey", metavar="VENV")
    ask.add_argument("--slots", type=int, default=2, help="processes at once")
    ask.add_argument("--only", default="", help="a part of a piece's name")
    args = ask.parse_args()
    n = max(args.n // 100, 1) * 100
    with tempfile.TemporaryDirectory(prefix="weir-beside-") as home:
        mark = f"{home}/mark"
        subprocess.run(["cc", "-O2", "-static", "-x", "c", "-o", mark, "-"], input=MARK.encode(), check=True)
        marks = Marks(f"{home}/marks")
        homes = [f"{home}/{name}" for name in ("bare", "huey", "weir")]
        [os.mkdir(one) for one in homes]
        weir = Weir(homes[2], marks, mark, args.slots, args.weir)
        them = {"bare": Bare(homes[0], marks, mark, args.slots), "weir": weir}
        if args.huey:
            them["huey"] = Huey(homes[1], marks, mark, args.slots, args.huey)
        pieces = {piece: measure for piece, measure in PIECES.items() if args.only in piece}
        try:
            found = {(piece, name): [] for piece in pieces for name in them}
            for number in range(args.rounds):
                order = list(them) if number % 2 else list(them)[::-1]
                for piece, measure in pieces.items():
                    for name in order:
                        found[piece, name].append(measure(them[name], n))
            print(f"{'a second':<29}" + "".join(f"{name:>10}" for name in them) + f"{'of bare':>10}" + f"{'of huey':>10}" * ("huey" in them))
            for piece in pieces:
                row = {name: found[piece, name] for name in them}
                shown = [f"{statistics.median(got):10.0f}" if None not in got else f"{'-':>10}" for got in row.values()]
                for other in ("bare", "huey"):
                    if other in row:
                        pairs = [mine / its for mine, its in zip(row["weir"], row[other]) if its]
                        shown.append(f"{statistics.median(pairs):10.2f}" if pairs else f"{'-':>10}")
                print(f"{piece:<29}" + "".join(shown), flush=True)
        finally:
            weir.daemon.send_signal(signal.SIGTERM)
            weir.daemon.wait(60)


if __name__ == "__main__":
    main()
