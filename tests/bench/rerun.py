#!/usr/bin/env python3
"""How soon the task of a killed worker runs again: from the SIGKILL to the time stamp that its next run writes itself.

  cargo build --release && tests/bench/rerun.py [--slots 4] [--kills 200] [--bin target/release]

As many tasks as slots, each of which runs until it is killed: whoever starts next is the one whose worker was killed. First the
workers are killed, then their shims with them, where nobody is left to tell of the death and it has to be found. Standard library only.
"""
import argparse, json, os, random, signal, socket, statistics, struct, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))


def records(reader, count, seconds=60):
    """The next starts: the pid and the time of each."""
    got, until = [], time.monotonic() + seconds
    while len(got) < count:
        try:
            data = os.read(reader, 16 * 4096)
            got += [struct.unpack("qq", data[i:i + 16]) for i in range(0, len(data), 16)]
        except BlockingIOError:
            if time.monotonic() > until:
                raise TimeoutError(f"only {len(got)} of {count} runs began")
            time.sleep(0.0002)
    return got


def submit(path, tasks):
    body = json.dumps([{"payload": {}}] * tasks).encode()
    with socket.socket(socket.AF_UNIX) as conn:
        conn.connect(path)
        head = b"POST /v1/pools/t/tasks HTTP/1.1\r\nhost: w\r\nconnection: close\r\ncontent-type: application/json\r\n"
        conn.sendall(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        return conn.makefile("rb").read().decode()


def begin(daemon, path, tasks):
    """Submit as soon as there is somebody to take them in."""
    answer, until = "", time.monotonic() + 20
    while not answer.startswith("HTTP/1.1 201"):
        if time.monotonic() > until or daemon.poll() is not None:
            sys.exit(f"the tasks were not taken in: {answer[:400]}; see the daemon: " + open(os.path.dirname(os.path.dirname(path)) + "/log").read()[:2000])
        time.sleep(0.02)
        try:
            answer = submit(path, tasks)
        except OSError as error:
            answer = str(error)


def parent(pid):
    return int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])


def killed(reader, alive, kills, with_shim):
    took = []
    for _ in range(kills):
        victim = random.choice(alive)
        shim = parent(victim)
        at = time.monotonic_ns()
        # The shim first: it cannot tell then.
        for pid in [shim, victim] if with_shim else [victim]:
            os.kill(pid, signal.SIGKILL)
        pid, begun = records(reader, 1)[0]
        took.append((begun - at) / 1e6)
        alive[alive.index(victim)] = pid
    took.sort()
    return took


def main():
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--slots", type=int, default=4)
    ask.add_argument("--kills", type=int, default=200)
    ask.add_argument("--bin", default="target/release")
    args = ask.parse_args()
    with tempfile.TemporaryDirectory(prefix="weir-rerun-") as home:
        worker, fifo = f"{home}/worker", f"{home}/fifo"
        subprocess.run(["cc", "-O2", "-static", "-o", worker, f"{HERE}/worker.c"], check=True)
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
        os.mkdir(f"{home}/specs")
        with open(f"{home}/specs/t.yaml", "w") as spec:
            spec.write(f"apiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {{name: t}}\nspec:\n  replicas: {args.slots}\n"
                       f"  template: {{command: [{worker}, {fifo}], terminationGracePeriod: 1s}}\n"
                       "  queue: {retry: {maxAttempts: 1000}, timeout: 6h}\n")
        log = open(f"{home}/log", "w")
        daemon = subprocess.Popen([f"{os.path.abspath(args.bin)}/weir", "run", "--specs", f"{home}/specs", "--state", f"{home}/state"],
                                  stdout=log, stderr=log)
        try:
            begin(daemon, f"{home}/state/weir.sock", args.slots)
            alive = [pid for pid, _ in records(reader, args.slots)]
            for words, with_shim in (("the worker", False), ("the worker and its shim", True)):
                took = killed(reader, alive, args.kills, with_shim)
                p99 = took[min(len(took) - 1, int(0.99 * len(took)))]
                print(f"{words} killed {len(took)} times: again after p50 {statistics.median(took):.1f} ms, p99 {p99:.1f} ms, at most {took[-1]:.1f} ms")
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(60)


if __name__ == "__main__":
    main()
