"""How the workers of one training find each other.

gloo connects to the address of the interface it is told of; left alone it takes the host name's,
which is 127.0.0.1 on many machines, and two nodes never meet.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from typing import Any

import ray
from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend


def interface_of(address: str) -> str | None:
    """The name of the network interface that owns an IP address, None if no interface does."""
    import psutil

    wanted = ipaddress.ip_address(address)
    for name, addresses in psutil.net_if_addrs().items():
        for entry in addresses:
            try:
                # A link-local IPv6 address carries its zone: fe80::1%eth0.
                if ipaddress.ip_address(entry.address.split("%")[0]) == wanted:
                    return str(name)
            except ValueError:
                continue  # a hardware address
    return None


def choose_interface() -> None:
    """Point gloo and nccl at the interface that Ray knows this node by."""
    name = interface_of(ray.util.get_node_ip_address())
    if name is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
        if name != "lo":  # one node with a loopback address: nccl finds its way without sockets
            os.environ.setdefault("NCCL_SOCKET_IFNAME", name)


class _Backend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        worker_group.execute(choose_interface)
        super().on_start(worker_group, backend_config)


@dataclass
class Rendezvous(TorchConfig):
    """Ray's process group set-up, after each worker has chosen its interface."""

    @property
    def backend_cls(self) -> type[_Backend]:
        return _Backend
