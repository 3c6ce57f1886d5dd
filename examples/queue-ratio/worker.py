"""Takes one file after the other from spool/, works on it, and puts it into done/."""
import os
import signal
import socket
import time

stop = False


def ask_to_stop(_signal, _frame):
    global stop
    stop = True  # looked at between two jobs


def tell(*lines):
    """Say it to weir, as systemd's services do."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.sendto("\n".join(lines).encode(), address.replace("@", "\0", 1))


def take():
    """The path of a job that is ours now, or None."""
    for name in sorted(os.listdir("spool")):
        if not name.endswith(".job"):
            continue
        mine = os.path.join("taken", name)
        try:
            os.rename(os.path.join("spool", name), mine)  # of two workers one wins
        except FileNotFoundError:
            continue
        return mine
    return None


signal.signal(signal.SIGTERM, ask_to_stop)
os.makedirs("taken", exist_ok=True)
os.makedirs("done", exist_ok=True)
tell("READY=1", "X_WEIR_BUSY=0")
while not stop:
    job = take()
    if job is None:
        time.sleep(0.5)
        continue
    tell("X_WEIR_BUSY=1", f"STATUS=working on {job}")
    time.sleep(1)  # the work itself
    os.rename(job, os.path.join("done", os.path.basename(job)))
    tell("X_WEIR_BUSY=0", "STATUS=waiting")
