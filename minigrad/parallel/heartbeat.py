"""Noticing that another process of a run is gone: each has a connection to process 0 and says every second that it lives.

MLX itself tells when a TCP connection breaks, at some later exchange, or only waits. This notices also a machine that froze and a
network that went away. A closed connection counts at once, silence after `SILENCE` seconds.
"""

import contextlib
import hmac
import json
import os
import select
import socket
import threading
import time
import uuid
import warnings
import zlib
from collections.abc import Callable

from minigrad.parallel import exchange

BEAT, SILENCE, CONNECT = 1.0, 15.0, 15.0  # seconds between signs of life, until silence means death, to connect
NAP = 0.2  # seconds until `close` is noticed
ALIVE, DONE = b".", b"q"


class Heartbeat:
    """Signs of life between process 0 and each other one, in a thread of their own; `lost(reason)` is called there, once.

    All processes make theirs at the same time. `close` says that this one is done, so that its end alarms nobody.
    """

    def __init__(self, lost: Callable[[str], None]):
        self.lost, self.open = lost, True
        self.sockets: dict[socket.socket, int] = {}  # connection -> rank
        self.connect()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def connect(self) -> None:
        """Process 0 listens and says where; the others come and prove with a secret that they are the right ones."""
        rank, size = exchange.get_rank(), exchange.get_world_size()
        machine = zlib.crc32(f"{socket.gethostname()} {uuid.getnode()}".encode())
        near = len(set(exchange.all_gather([machine])[:, 0].tolist())) == 1  # all on one machine
        server = socket.create_server(("127.0.0.1" if near else "", 0)) if rank == 0 else None
        invitation = {}
        if server is not None:
            hosts = ["127.0.0.1"] if near else _addresses()
            invitation = {"hosts": hosts, "port": server.getsockname()[1], "secret": os.urandom(16).hex()}
        invitation = json.loads(exchange.first(lambda: json.dumps(invitation).encode()))
        secret = bytes.fromhex(invitation["secret"])
        if server is not None:
            self._accept(server, secret, size - 1)
        else:
            self._join(invitation["hosts"], invitation["port"], secret + rank.to_bytes(4))

    def _accept(self, server: socket.socket, secret: bytes, count: int) -> None:
        until = time.monotonic() + CONNECT
        with server:
            while len(self.sockets) < count and (left := until - time.monotonic()) > 0:
                server.settimeout(left)
                with contextlib.suppress(OSError):
                    peer, _ = server.accept()
                    peer.settimeout(2)
                    hello = peer.recv(len(secret) + 4, socket.MSG_WAITALL)
                    if hmac.compare_digest(hello[:-4], secret):
                        self.sockets[peer] = int.from_bytes(hello[-4:])
                    else:
                        peer.close()
        if len(self.sockets) < count:
            _warn()

    def _join(self, hosts: list[str], port: int, hello: bytes) -> None:
        for host in hosts:
            with contextlib.suppress(OSError):
                peer = socket.create_connection((host, port), timeout=CONNECT / len(hosts))
                peer.sendall(hello)
                peer.settimeout(2)
                self.sockets[peer] = 0
                return
        _warn()

    def run(self) -> None:
        """Sends and expects signs of life until `close`, or until somebody is gone."""
        heard = {peer: time.monotonic() for peer in self.sockets}
        due = time.monotonic()
        while self.open and self.sockets:
            if time.monotonic() >= due:
                due = time.monotonic() + BEAT
                for peer in self.sockets:
                    with contextlib.suppress(OSError):  # what was received before says whether it was done
                        peer.sendall(ALIVE)
            ready, _, _ = select.select(list(self.sockets), [], [], min(NAP, max(due - time.monotonic(), 0)))
            for peer in ready:
                try:
                    said = peer.recv(1024)
                except OSError:
                    said = b""
                if DONE in said:
                    del self.sockets[peer]  # it will be silent from now on
                    peer.close()
                elif said:
                    heard[peer] = time.monotonic()
                elif self.open:
                    return self.lost(f"process {self.sockets[peer]} ended")
            for peer, rank in self.sockets.items():
                if self.open and time.monotonic() - heard[peer] > SILENCE:
                    return self.lost(f"process {rank} has been silent for {SILENCE:.0f} seconds")

    def close(self, done: bool = True) -> None:
        """Ends the thread; with `done` the others are told that all is well."""
        self.open = False
        if threading.current_thread() is not self.thread:
            self.thread.join()
        for peer in self.sockets:
            with contextlib.suppress(OSError), peer:
                if done:
                    peer.sendall(DONE)
                    peer.shutdown(socket.SHUT_WR)
                    while peer.recv(1024):  # until the other has read it: closing before would take it back
                        pass


def _addresses() -> list[str]:
    """Where this machine may be reached: as the launcher knows it, then its own addresses."""
    found = []
    with contextlib.suppress(KeyError, OSError, ValueError, IndexError):
        with open(os.environ["MLX_HOSTFILE"]) as file:
            found += [address.rpartition(":")[0] for address in json.load(file)[0]]
    for name in ("MLX_JACCL_COORDINATOR", "NCCL_HOST_IP"):
        found += [os.environ[name].partition(":")[0]] if name in os.environ else []
    with contextlib.suppress(OSError):
        found += socket.gethostbyname_ex(socket.gethostname())[2]
    return list(dict.fromkeys(found))


def _warn() -> None:
    warnings.warn(
        "the processes of this run can't connect to each other beside MLX: that one of them freezes won't be noticed",
        stacklevel=2,
    )
