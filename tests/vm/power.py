#!/usr/bin/python3
"""The guest of tests/vm/power: looks whether what was acknowledged is there, then gives tasks and ends them until the power goes.

Called with `worker` it is the worker that ends them. A word on the second serial line is what the host knows. The machine's
Python is a small one: it has neither json nor http.
"""
import collections, os, re, socket, subprocess, sys, threading, time

LINE = os.open("/dev/ttyS1", os.O_WRONLY)
STATE = "/data/state"
SUBMITTERS = 4

POOL = """
apiVersion: weir.dev/v1
kind: WorkerPool
metadata: {name: work}
spec:
  replicas: 1
  template:
    command: [/payload/instead, worker]
    terminationGracePeriod: 1s
  queue: {delivery: Lease, capacity: 1000000, ttl: 7d}
"""


def say(*words):
    os.write(LINE, (" ".join(map(str, words)) + "\n").encode())


class Conn:
    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(f"{STATE}/weir.sock")
        self.answers = self.socket.makefile("rb")

    def call(self, method, path, body="{}", refused=None):
        """The answer's text, which is JSON; of a refusal this, if there is something to be said then."""
        head = f"{method} {path} HTTP/1.1\r\nHost: weir\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.socket.sendall((head + body).encode())
        status = self.answers.readline().split()[1]
        length = 0
        while (line := self.answers.readline()) != b"\r\n":
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        text = self.answers.read(length).decode()
        if not status.startswith(b"2") and refused is not None:
            return refused
        if not status.startswith(b"2"):
            raise RuntimeError(f"{method} {path}: {status} {text[:300]}")
        return text

    def submit(self, key):
        """The number of the task."""
        answer = self.call("POST", "/v1/pools/work/tasks", f'{{"payload": "{key}", "idempotencyKey": "{key}"}}')
        return int(re.search(r'"id":(\d+)', answer)[1])


def worker():
    conn, name, run = Conn(), os.environ["WEIR_WORKER"], os.environ["WEIR_RUN"]
    me = f'{{"worker": "{name}", "run": {run}, "wait": "60s"}}'
    answer = ""
    while True:
        while not (token := re.search(r'"token":"([^"]+)"', answer)):
            answer = conn.call("POST", "/v1/pools/work/lease", me)
        key = re.search(r'"idempotencyKey":"([^"]+)"', answer[token.start():])[1]
        answer = conn.call("POST", f"/v1/leases/{token[1]}/complete", f'{{"next": {me}}}')
        say("ended", key, token[1].split(".")[1])


def submitter(boot, n):
    conn = Conn()
    for i in range(1_000_000):
        key = f"k-{boot}-{n}-{i}"
        say("submitted", key, conn.submit(key))


def known():
    """What the host knows: the numbers of the tasks that were acknowledged, and of those of which an end was, by their keys."""
    submitted, ended = {}, {}
    for line in open("/dev/vdd"):
        words = line.split()
        if words == ["end"]:
            return submitted, ended
        (submitted if words[0] == "submitted" else ended)[words[1]] = int(words[2])
    raise RuntimeError("the host's list has no end")


def look(conn):
    submitted, ended = known()
    text = conn.call("GET", "/v1/tasks?limit=4000000")
    items = re.findall(r'"id":(\d+),"pool":"work","state":"(\w+)","priority":0,"idempotencyKey":"([^"]+)"', text)
    there = {key: (int(id), state) for id, state, key in items}
    # More than can be listed at once: the others are asked for one by one.
    for key, id in [(key, id) for key, id in {**ended, **submitted}.items() if key not in there]:
        text = conn.call("GET", f"/v1/tasks/{id}", refused="")
        if found := re.search(r'"id":(\d+),"pool":"work","state":"(\w+)","priority":0,"idempotencyKey":"([^"]+)"', text):
            items.append(found.groups())
            there[found[3]] = (int(found[1]), found[2])
    times = collections.Counter(key for _, _, key in items)
    lost = [key for key, id in submitted.items() if key not in there or there[key][0] != id]
    doubled = [key for key, n in times.items() if n > 1]
    undone = [key for key in ended if key not in there or there[key][1] != "Succeeded"]
    # Given once more, the last ones are the same tasks: their keys are there as well.
    for key, id in list(submitted.items())[-50:]:
        if key in there and conn.submit(key) != id:
            doubled.append(key)
    for what, keys in ("lost", lost), ("doubled", doubled), ("undone", undone):
        for key in keys[:5]:
            say(what, key, submitted.get(key), there.get(key))
    say(f"looked at {len(submitted)} submits and {len(ended)} ends among {len(items)} tasks:"
        f" {len(lost)} lost, {len(doubled)} doubled, {len(undone)} undone")
    return len(items)


def main():
    subprocess.run(["stty", "-F", "/dev/ttyS1", "raw", "-echo"], check=True)
    os.makedirs("/data", exist_ok=True)
    if os.path.exists("/payload/unflushed"):
        with open("/sys/block/vdc/queue/write_cache", "w") as cache:
            cache.write("write through")
    subprocess.run(["mount", "/dev/vdc", "/data"], check=True)
    os.makedirs("/tmp/specs")
    with open("/tmp/specs/work.yaml", "w") as spec:
        spec.write(POOL)
    daemon = subprocess.Popen(["weir", "run", "--specs", "/tmp/specs", "--state", STATE, "--cgroup-driver", "none"])
    while True:
        try:
            conn = Conn()
            conn.call("GET", "/v1/pools/work/capacity")
            break
        except (OSError, RuntimeError):
            if daemon.poll() is not None:
                say("weir has ended:", daemon.returncode)
                time.sleep(600)
            time.sleep(0.05)
    boot = look(conn)
    say("giving")
    threads = [threading.Thread(target=submitter, args=(boot, n)) for n in range(SUBMITTERS)]
    for thread in threads:
        thread.start()
    daemon.wait()


if sys.argv[1:] == ["worker"]:
    worker()
else:
    main()
