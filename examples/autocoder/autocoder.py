"""Stands in for an autonomous coder with a web page: an agent process for each file in features/, three at a time.

A feature is a file with two numbers: megabytes that its agent needs, and for how many seconds. Agents show in agents/.
"""
import os
import sys
import time

os.chdir(sys.argv[1])
for folder in ("features", "agents", "done"):
    os.makedirs(folder, exist_ok=True)
for name in os.listdir("agents"):
    os.unlink(f"agents/{name}")  # What an earlier run left.


def agent(megabytes, seconds):
    until, block = time.monotonic() + seconds, b"x" * (megabytes << 20)
    while time.monotonic() < until and block:
        pass
    os._exit(0)


running = {}
while True:
    waiting = sorted(set(os.listdir("features")) - set(running.values()))
    for name in waiting[: 3 - len(running)]:
        with open(f"features/{name}") as file:
            words = file.read().split()
        if len(words) != 2:
            continue  # It is still being written.
        megabytes, seconds = map(int, words)
        open(f"agents/{name}", "w").close()
        pid = os.fork()
        if pid == 0:
            agent(megabytes, seconds)
        running[pid] = name
    ended, _ = os.waitpid(-1, os.WNOHANG) if running else (0, 0)
    if ended:
        name = running.pop(ended)
        os.unlink(f"agents/{name}")
        os.rename(f"features/{name}", f"done/{name}")
    else:
        time.sleep(0.2)
