"""Run pytest beside a real Milvus server: `unshare --net python tests/milvus_server.py FOLDER [arguments of pytest]`.

The server listens on all addresses, so it and its tests belong into a network namespace of their own.
"""

import fcntl
import os
import socket
import struct
import sys

import pytest
from milvus import MilvusServer

GET_FLAGS, SET_FLAGS, UP = 0x8913, 0x8914, 1  # of a network interface, from Linux's sockios.h and if.h


def bring_loopback_up() -> None:
    with socket.socket() as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, GET_FLAGS, request))[1]
        fcntl.ioctl(any_socket, SET_FLAGS, struct.pack("16sh14x", b"lo", flags | UP))


def main(folder: str, *arguments: str) -> int:
    bring_loopback_up()
    server = MilvusServer()
    server.set_base_dir(folder)
    server.start()
    try:
        os.environ["MMN_MILVUS"] = f"http://127.0.0.1:{server.listen_port}"
        return pytest.main(list(arguments))
    finally:
        server.stop()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
