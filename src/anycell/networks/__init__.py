"""Networks: image tiles in, fields out.

One file per network; a new one is one file with a frozen class of the members below
and one line in ``NETWORKS``.  torch is imported by the files, not by this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from anycell.errors import unknown_name

if TYPE_CHECKING:
    from torch import nn

__all__ = ["NETWORKS", "Network", "network"]


class Network(Protocol):
    """What every network offers."""

    @property
    def name(self) -> str:
        """The name in the table."""

    @property
    def multiple(self) -> int:
        """Rows and columns of a tile must be a multiple of this."""

    @property
    def reach(self) -> int:
        """Pixels around a place that its outputs depend on noticeably."""

    def build(self, channels_in: int, channels_out: int, stride: int) -> nn.Module:
        """Make the untrained module: (n, in, H, W) -> (n, out, H / stride, W / stride)."""


NETWORKS: dict[str, str] = {
    "swift": "anycell.networks.swift:Swift",
    "swinunetr": "anycell.networks.swinunetr:SwinUnetr",
    "unet": "anycell.networks.unet:UNet",
    "unetr": "anycell.networks.unetr:Unetr",
}
"""Name -> where its class stands; loaded when asked for."""


def network(name: str, settings: Mapping[str, Any] | None = None) -> Network:
    """Make the network called ``name``; unknown names are a SettingError."""
    if name not in NETWORKS:
        raise unknown_name("network", name, NETWORKS)
    module, _, kind = NETWORKS[name].partition(":")
    made: Network = getattr(import_module(module), kind)(**(settings or {}))
    return made
