#!/usr/bin/env python3
"""Jobs through a real queue to a pool that grows and shrinks. Standard library only; the workers' packages are in --venv.

  drive.py rq|celery --weir target/debug/weir --venv target/queues-venv [--jobs 300] [--ms 20 100]

Runs examples/rq-redis or examples/celery on a redis-server of its own (loopback, a free port, a scratch directory): the jobs
come in three bursts, the next one a few seconds after the last job of the one before, when the pool is getting smaller. Fails
unless every job ran exactly once, the pool reached its ceiling, and it returned to its floor. Prints one line of figures.
tests/bench/celery_autoscale.py runs the same jobs with Celery's own --autoscale.
"""
import argparse, collections, contextlib, os, pathlib, random, re, shutil, signal, socket, subprocess, tempfile, threading, time

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = {"rq": "rq-redis", "celery": "celery"}
CEILING = 6
BURSTS = 3


def wait(what, so, seconds, log=None):
    """Until it is so; fail at the deadline."""
    until = time.monotonic() + seconds
    while not so():
        if time.monotonic() > until:
            said = pathlib.Path(log).read_text(errors="replace")[-4000:] if log else ""
            raise SystemExit(f"waited {seconds} s in vain for {what}\n{said}")
        time.sleep(0.02)


@contextlib.contextmanager
def running(argv, log, end=signal.SIGTERM, patience=60, **more):
    """A process of ours, ended by its own pid."""
    with open(log, "ab") as out:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, **more)
    try:
        yield process
    finally:
        # Not reaped yet, so the pid is its own; once it is reaped, nothing is sent.
        process.send_signal(end)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def redis(dir):
    """A redis-server; gives its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = ["redis-server", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", str(port)]

    def listens():
        with socket.socket() as line:
            return line.connect_ex(("127.0.0.1", port)) == 0

    with running(argv, dir / "redis.log", cwd=dir):
        wait("redis-server to listen", listens, 30, dir / "redis.log")
        yield port


def copy(example, venv, dir, port):
    """The example as it is, with the port of our server and our virtual environment."""
    target = dir / example
    shutil.copytree(ROOT / "examples" / example, target, ignore=shutil.ignore_patterns("venv", "done.txt", ".weir", "__pycache__"))
    for path in target.glob("specs/*.yaml"):
        path.write_text(path.read_text().replace("6379", str(port)))
    (target / "venv").symlink_to(venv)
    return target


class Pool:
    """Workers under weir, as many as the status says are there."""

    def __init__(self, state, name):
        self.path = state / "status" / "workerpools" / f"{name}.yaml"

    def count(self):
        try:
            found = re.search(r"^  replicas: (\d+)", self.path.read_text(), re.M)
        except FileNotFoundError:
            return 0
        return int(found[1]) if found else 0


def parents():
    """The parent of every process."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, IndexError, ValueError):
            found[int(pid)] = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return found


def left_of(state):
    """Processes whose environment or command line names this state directory."""
    mark, found = f"{state}/run".encode(), []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            texts = (pathlib.Path(f"/proc/{pid}/{file}").read_bytes() for file in ("environ", "cmdline"))
            if any(mark in text for text in texts):
                found.append(int(pid))
    return found


@contextlib.contextmanager
def nothing_left(state):
    """Whatever happens, no worker of this state lives on."""
    try:
        yield
    except BaseException:
        for pid in left_of(state):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        raise


class Watch(threading.Thread):
    """Counts the workers ten times a second: the most there were, and the sum of their seconds."""

    def __init__(self, count):
        super().__init__(daemon=True)
        self.count, self.most, self.now, self.seconds, self.going = count, 0, 0, 0.0, True

    def run(self):
        last = time.monotonic()
        while self.going:
            now = time.monotonic()
            self.now = self.count()
            self.seconds += self.now * (now - last)
            self.most, last = max(self.most, self.now), now
            time.sleep(0.1)


class Work:
    """The jobs: put in in bursts, and read back from the file into which each wrote its number."""

    def __init__(self, dir, port, options):
        self.dir, self.done, self.options = dir, dir / "done.txt", options
        self.env = dict(os.environ, REDIS_URL=f"redis://127.0.0.1:{port}/0")

    def lines(self):
        return self.done.read_text().split() if self.done.exists() else []

    def run(self, log):
        """All bursts; gives the seconds from the first job put in to the last one done."""
        began, first, pauses = time.monotonic(), 0, random.Random(1)
        for burst in range(BURSTS):
            many = self.options.jobs * (burst + 1) // BURSTS - first
            words = [many, *self.options.ms, first]
            subprocess.run(["venv/bin/python", "enqueue.py", *map(str, words)], cwd=self.dir, env=self.env, check=True)
            first += many
            wait(f"{first} jobs done", lambda: len(self.lines()) >= first, 120 + first * self.options.ms[1] / 1000, log)
            ended = time.monotonic()
            if burst + 1 < BURSTS:
                # A part of the load: while the pool gets smaller, there is work again.
                time.sleep(pauses.uniform(6, 12))
        return ended - began

    def check(self):
        """Every job exactly once."""
        counts = collections.Counter(map(int, self.lines()))
        lost = [number for number in range(self.options.jobs) if not counts[number]]
        twice = [number for number, times in counts.items() if times > 1]
        if lost or twice or len(counts) != self.options.jobs:
            raise SystemExit(f"of {self.options.jobs} jobs lost: {lost}; ran more than once: {twice}")


def figures(name, options, seconds, watch):
    work = f"{options.jobs} jobs of {options.ms[0]}-{options.ms[1]} ms in {BURSTS} bursts"
    print(f"{name}: {work}, each exactly once: {seconds:.1f} s, up to {watch.most} workers, {watch.seconds:.0f} worker-seconds")


@contextlib.contextmanager
def scratch():
    with tempfile.TemporaryDirectory(prefix="weir-queues-") as name:
        yield pathlib.Path(name).resolve()


def under_weir(kind, options):
    """The example's pool of this kind."""
    floor = 0 if kind == "rq" else 1
    with scratch() as dir, redis(dir) as port:
        target, state, log = copy(EXAMPLES[kind], options.venv, dir, port), dir / "state", dir / "weir.log"
        weir = [str(options.weir), "run", "--specs", "specs", "--state", str(state)]
        with nothing_left(state), running(weir, log, cwd=target) as daemon:
            pool = Pool(state, kind)
            wait(f"{floor} workers", lambda: pool.path.exists() and pool.count() == floor, 60, log)
            watch = Watch(pool.count)
            watch.start()
            work = Work(target, port, options)
            seconds = work.run(log)
            wait(f"the pool to return to {floor}", lambda: watch.now == floor, 120, log)
            watch.going = False
            assert daemon.poll() is None, log.read_text()
        if daemon.returncode != 0:
            raise SystemExit(f"weir ended with {daemon.returncode}\n{log.read_text()}")
        wait("every worker and shim to be gone", lambda: not left_of(state), 30, log)
        work.check()
        if watch.most < CEILING:
            raise SystemExit(f"the pool had {watch.most} workers at most, not {CEILING}\n{log.read_text()}")
        figures(f"{kind} under weir", options, seconds, watch)


def under_autoscale(options):
    """One Celery worker that scales its own processes."""
    with scratch() as dir, redis(dir) as port:
        target, log = copy(EXAMPLES["celery"], options.venv, dir, port), dir / "celery.log"
        work = Work(target, port, options)
        words = "-A tasks worker --autoscale=6,1 --without-gossip --without-mingle --loglevel warning".split()
        with running(["venv/bin/celery", *words], log, cwd=target, env=work.env) as celery:
            count = lambda: sum(parent == celery.pid for parent in parents().values())
            wait("its first process", lambda: count() >= 1, 60, log)
            watch = Watch(count)
            watch.start()
            seconds = work.run(log)
            wait("it to return to 1", lambda: watch.now == 1, 300, log)
            watch.going = False
        work.check()
        figures("celery --autoscale=6,1", options, seconds, watch)


def absolute(path):
    return pathlib.Path(path).absolute()


def options(text):
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", type=absolute, default=ROOT / "target/debug/weir")
    parser.add_argument("--venv", type=absolute, default=ROOT / "target/queues-venv")
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--ms", type=int, nargs=2, default=[20, 100])
    return parser


if __name__ == "__main__":
    parser = options(__doc__)
    parser.add_argument("kind", choices=sorted(EXAMPLES))
    given = parser.parse_args()
    under_weir(given.kind, given)
