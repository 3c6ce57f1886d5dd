"""The jobs: each sleeps, and then writes its number into a file."""
import os
import time


def work(number, milliseconds):
    time.sleep(milliseconds / 1000)
    # One write to a file opened for appending: lines of several workers do not mix.
    done = os.open("done.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(done, f"{number}\n".encode())
    os.close(done)
