"""The tasks, and what tells weir how the worker is."""
import os
import socket
import time

from celery import Celery, signals

app = Celery("tasks", broker=os.environ["REDIS_URL"])
app.conf.update(
    task_ignore_result=True,
    # A worker holds the task that it runs and no other: the rest is there for all.
    task_acks_late=True,
    worker_prefetch_multiplier=1,
)


@app.task
def work(number, milliseconds):
    time.sleep(milliseconds / 1000)
    # One write to a file opened for appending: lines of several workers do not mix.
    done = os.open("done.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(done, f"{number}\n".encode())
    os.close(done)


def tell(*lines):
    """Say it to weir, as systemd's services do."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.sendto("\n".join(lines).encode(), address.replace("@", "\0", 1))


@signals.worker_ready.connect
def ready(**_):
    tell("READY=1", "X_WEIR_BUSY=0")


@signals.task_prerun.connect
def busy(task_id=None, **_):
    tell("X_WEIR_BUSY=1", f"STATUS=runs {task_id}")


@signals.task_postrun.connect
def idle(**_):
    tell("X_WEIR_BUSY=0", "STATUS=waiting for a task")
