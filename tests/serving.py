"""A web application that a thread of the tests serves."""

import contextlib
import socket
import threading
import time


@contextlib.contextmanager
def served(app):
    """Its address, as long as the block lasts."""
    import uvicorn

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server has ended"
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}/"
    server.should_exit = server.force_exit = True  # without waiting for clients that keep their connection
    thread.join(10)
