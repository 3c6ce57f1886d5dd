"""The system's bus, with somebody between it and whoever connects from now on: bus.py CONTROL HIT LIMIT.

CONTROL holds a word that says what becomes of the next call of SetUnitProperties:
pass  nothing
cut   it never reaches the bus, and there is no bus any more
deaf  it is carried out, as LIMIT shows, nobody is told, and there is no bus any more
hang  it is kept, and nobody is answered; it goes on its way as soon as all does
until that word is `pass` again. HIT is made when it has come to that.
"""
import os, select, socket, sys, time

CONTROL, HIT, LIMIT = sys.argv[1:]
PUBLIC, REAL = "/run/dbus/system_bus_socket", "/run/dbus/real"
other = {}  # Each end of what is connected, and the end that it belongs to.
away = False


def read(path):
    with open(path) as file:
        return file.read().strip()


def connected(path):
    end = socket.socket(socket.AF_UNIX)
    end.connect(path)
    return end


def closed(end):
    for one in (end, other[end]):
        del other[one]
        one.close()


def met(call, bus, way):
    """Says whether there is a bus after this call."""
    before = read(LIMIT)
    if way == "deaf":
        bus.sendall(call)
        while read(LIMIT) == before:
            time.sleep(0.01)
    open(HIT, "w").close()
    if way != "hang":
        return False
    while read(CONTROL) != "pass":
        time.sleep(0.1)
    bus.sendall(call)
    return True


def forward(end):
    """Says whether there is a bus after that."""
    data = end.recv(1 << 20)
    if not data:
        raise ConnectionError
    way = read(CONTROL)
    if b"SetUnitProperties" in data and way != "pass":
        return met(data, other[end], way)
    other[end].sendall(data)
    return True


# Whoever listens at a path goes on to when it has another name.
os.rename(PUBLIC, REAL)
listener = socket.socket(socket.AF_UNIX)
listener.bind(PUBLIC)
os.chmod(PUBLIC, 0o666)
listener.listen(100)
while True:
    away = away and read(CONTROL) != "pass"
    ready, _, _ = select.select([listener, *other], [], [], 0.1)
    for end in ready:
        if end is listener:
            client = listener.accept()[0]
            if away:
                client.close()
            else:
                bus = connected(REAL)
                other[client], other[bus] = bus, client
        elif end in other and not away:
            try:
                away = not forward(end)
            except ConnectionError:
                closed(end)
    while away and other:
        closed(next(iter(other)))
