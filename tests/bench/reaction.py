#!/usr/bin/env python3
"""How fast weir reacts, and what it costs when idle. Standard library only; the time stamps are the workers' own.

  tests/bench/reaction.py [--n 100] [--kills 50] [--edits 10] [--idle 0] [--bin target/release]

W1 start of N workers | W2 SIGKILL to replacement | W3 edit by rename 10 -> 20 -> 10 | W4 idle: memory, CPU, wake-ups
W5 SIGKILL of all N.  bare: fork+exec of the same worker by a loop, measured in the same run (the floor).
"""
import argparse, json, os, random, shutil, signal, statistics, struct, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))


class Rig:
    def __init__(self, bin_dir, driver="auto"):
        self.driver = driver
        self.dir = tempfile.mkdtemp(prefix="weir-bench-")
        self.worker, self.fifo = f"{self.dir}/worker", f"{self.dir}/fifo"
        subprocess.run(["cc", "-O2", "-static", "-o", self.worker, f"{HERE}/worker.c"], check=True)
        os.mkfifo(self.fifo)
        self.reader = os.open(self.fifo, os.O_RDWR | os.O_NONBLOCK)
        self.bin, self.daemon = bin_dir, None
        os.mkdir(f"{self.dir}/specs")

    def spec(self, n):
        text = ("apiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {name: w}\nspec:\n"
                f"  replicas: {n}\n  template:\n    command: [{self.worker}, {self.fifo}]\n")
        with open(f"{self.dir}/aside", "w") as f:
            f.write(text)
        at = time.monotonic_ns()
        os.rename(f"{self.dir}/aside", f"{self.dir}/specs/w.yaml")
        return at

    def start(self):
        out = open(f"{self.dir}/log", "a")
        at = time.monotonic_ns()
        self.daemon = subprocess.Popen([f"{self.bin}/weir", "run", "--specs", f"{self.dir}/specs", "--state", f"{self.dir}/state",
                                        "--cgroup-driver", self.driver],
                                       stdout=out, stderr=out, cwd=self.dir)
        return at

    def records(self, count, seconds=60):
        got, until = [], time.monotonic() + seconds
        while len(got) < count:
            try:
                data = os.read(self.reader, 16 * 4096)
                got += [struct.unpack("qq", data[i:i + 16]) for i in range(0, len(data), 16)]
            except BlockingIOError:
                if time.monotonic() > until:
                    sys.exit(f"only {len(got)} of {count} workers; see {self.dir}/log")
                time.sleep(0.0002)
        return got

    def end(self):
        if self.daemon:
            self.daemon.send_signal(signal.SIGTERM)
            self.daemon.wait(60)
        shutil.rmtree(self.dir)


def ms(ns):
    return round(ns / 1e6, 2)


def gone(pids, seconds=60):
    until = time.monotonic() + seconds
    while any(os.path.exists(f"/proc/{p}") for p in pids):
        if time.monotonic() > until:
            sys.exit("workers do not go")
        time.sleep(0.0002)
    return time.monotonic_ns()


def tree(daemon):
    """The daemon and its shims."""
    pids = [daemon]
    for p in filter(str.isdigit, os.listdir("/proc")):
        try:
            if open(f"/proc/{p}/comm").read().strip() == "weir-shim" and f"{daemon}" == open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()[1]:
                pids.append(int(p))
        except OSError:
            pass
    return pids


def pss_kib(pid):
    return next(int(line.split()[1]) for line in open(f"/proc/{pid}/smaps_rollup") if line.startswith("Pss:"))


def cpu_and_switches(pids):
    cpu = switches = 0
    for p in pids:
        stat = open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()
        cpu += int(stat[11]) + int(stat[12])
        for t in os.listdir(f"/proc/{p}/task"):
            switches += sum(int(line.split()[1]) for line in open(f"/proc/{p}/task/{t}/status") if "ctxt_switches" in line)
    return cpu * 10, switches


def bare(rig, n):
    pids, at = [], time.monotonic_ns()
    for _ in range(n):
        pids.append(os.posix_spawn(rig.worker, [rig.worker, rig.fifo], {}))
    last = max(r[1] for r in rig.records(n))
    for p in pids:
        os.kill(p, signal.SIGKILL)
        os.waitpid(p, 0)
    return last - at


def main():
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--n", type=int, default=100)
    ask.add_argument("--kills", type=int, default=50)
    ask.add_argument("--edits", type=int, default=10)
    ask.add_argument("--idle", type=int, default=0, help="seconds of the idle window")
    ask.add_argument("--bin", default="target/release")
    ask.add_argument("--driver", default="auto", help="the cgroup driver")
    args = ask.parse_args()
    rig, out = Rig(os.path.abspath(args.bin), args.driver), {}
    floor = bare(rig, args.n)
    out["bare_ms"] = ms(floor)
    rig.spec(args.n)
    began = rig.start()
    workers = rig.records(args.n)
    out["W1_start_ms"] = ms(max(r[1] for r in workers) - began)
    out["W1_ratio"] = round((max(r[1] for r in workers) - began) / floor, 2)
    time.sleep(1)
    alive, times = [r[0] for r in workers], []
    for victim in random.sample(alive, min(args.kills, len(alive))):
        time.sleep(random.random() * 0.05)
        at = time.monotonic_ns()
        os.kill(victim, signal.SIGKILL)
        new = rig.records(1)[0]
        times.append(new[1] - at)
        alive[alive.index(victim)] = new[0]
    out["W2_p50_ms"], out["W2_p95_ms"] = ms(statistics.median(times)), ms(sorted(times)[int(len(times) * 0.95)])
    if args.idle:
        time.sleep(5)
        pids = tree(rig.daemon.pid)
        before = cpu_and_switches(pids)
        time.sleep(args.idle)
        after = cpu_and_switches(pids)
        out["W4"] = {"seconds": args.idle, "cpu_ms": after[0] - before[0], "switches": after[1] - before[1],
                     "daemon_pss_mib": round(pss_kib(rig.daemon.pid) / 1024, 1),
                     "shims_pss_mib": round(sum(pss_kib(p) for p in pids[1:]) / 1024, 1), "shims": len(pids) - 1}
    rig.end()
    rig = Rig(os.path.abspath(args.bin), args.driver)
    rig.spec(args.n)
    rig.start()
    alive = [r[0] for r in rig.records(args.n)]
    time.sleep(1)
    # A fresh instance: a worker's first restart is immediate, its second is not.
    at = time.monotonic_ns()
    for victim in alive:
        os.kill(victim, signal.SIGKILL)
    out["W5_all_killed_ms"] = ms(max(r[1] for r in rig.records(len(alive))) - at)
    rig.end()
    rig = Rig(os.path.abspath(args.bin), args.driver)
    rig.spec(10)
    rig.start()
    kept, up, down = {r[0] for r in rig.records(10)}, [], []
    time.sleep(0.5)
    for _ in range(args.edits):
        at = rig.spec(20)
        new = rig.records(10)
        up.append(max(r[1] for r in new) - at)
        time.sleep(0.3)
        at = rig.spec(10)
        down.append(gone([r[0] for r in new]) - at)
        time.sleep(0.3)
        assert all(os.path.exists(f"/proc/{p}") for p in kept), "a survivor was touched"
    out["W3_up_ms"], out["W3_down_ms"] = ms(statistics.median(up)), ms(statistics.median(down))
    rig.end()
    print(json.dumps(out, indent=2))


main()
