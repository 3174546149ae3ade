"""Ray, connected: to a cluster that runs, or to one of this machine alone. Nothing is sent to its makers, no dashboard is started."""

import os
import socket
from types import ModuleType
from typing import Any

from huiyi.errors import InvalidInput, MissingExtra, Unavailable

LOCAL, AUTO = "local", "auto"
REACH_S = 5.0
# Ray speaks gRPC. Both sides of HTTP/2 begin with their settings (RFC 9113, section 3.4): three bytes of length, then the type.
SETTINGS = b"\x04"
HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + SETTINGS + bytes(5)
OBJECT_STORE_BYTES = 256 * 2**20  # of a cluster of our own: what lies in it is some slices of texts and vectors


def connect(address: str) -> tuple[ModuleType, bool]:
    """Ray, and whether the connection is ours to end. Raises MissingExtra, InvalidInput, Unavailable within seconds."""
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0")  # before ray is imported; the latter warns
    if address not in (LOCAL, AUTO):
        _require_reachable(address)
    try:
        import ray
    except ImportError as error:
        raise MissingExtra("--ray", "ray") from error
    if ray.is_initialized():
        return ray, False
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == LOCAL:
        options |= {"include_dashboard": False, "num_cpus": os.cpu_count(), "object_store_memory": OBJECT_STORE_BYTES}
    try:
        ray.init(address, **options)
    except Exception as error:
        ray.shutdown()
        raise Unavailable(
            f"no Ray cluster could be joined at {address} ({first_line(error)}); this machine has to be part of it: "
            f"ray start --address=HOST:PORT, with the cluster's version of Ray and Python"
        ) from error
    return ray, True


def _require_reachable(address: str) -> None:
    """In seconds; Ray itself would try for a minute."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        raise InvalidInput(
            f"{address} is no address of a Ray cluster: HOST:PORT, auto for the one this machine is in, local for this machine"
        )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), REACH_S) as line:
            if os.getenv("RAY_USE_TLS") != "1":
                line.sendall(HTTP2_HELLO)
                if line.makefile("rb").read(4)[3:] != SETTINGS:
                    raise Unavailable(f"what answers at {address} is no Ray cluster; ray start --head says where one is")
    except (OSError, OverflowError) as error:
        raise Unavailable(
            f"nothing answers at {address} ({first_line(error)}); is the cluster up (ray start --head says where), and the port open?"
        ) from error


def first_line(error: BaseException) -> str:
    return next((line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()), type(error).__name__)
