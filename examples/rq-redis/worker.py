"""RQ's worker, which tells weir when it is busy, and stops between two jobs only."""
import os
import socket

from redis import Redis
from rq import Worker


def tell(*lines):
    """Say it to weir, as systemd's services do."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.sendto("\n".join(lines).encode(), address.replace("@", "\0", 1))


class PoolWorker(Worker):
    def request_stop(self, signum, frame):
        # RQ would raise an exception here while it waits for a job, perhaps just as one arrives.
        self._stop_requested = True

    def dequeue_job_and_maintain_ttl(self, timeout, max_idle_time=None):
        tell("READY=1", "X_WEIR_BUSY=0", "STATUS=waiting for a job")
        while not self._stop_requested:
            # A second at a time, to look at the request in between.
            found = super().dequeue_job_and_maintain_ttl(1, max_idle_time=1)
            if found is not None:
                tell("X_WEIR_BUSY=1", f"STATUS=runs {found[0].id}")
                return found
        return None


name = f"{os.environ.get('WEIR_WORKER', 'worker')}.{os.getpid()}"
PoolWorker(["default"], name=name, connection=Redis.from_url(os.environ["REDIS_URL"])).work()
