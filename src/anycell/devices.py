"""Devices that training runs on, and what they are good at."""

from __future__ import annotations

import ctypes
import sys

import torch

from anycell.errors import SettingError

__all__ = ["chosen_device", "has_bfloat16", "keep_memory"]


def chosen_device(name: str) -> torch.device:
    """Give the device of a name: ``auto`` is a GPU where there is one.

    Raises
    ------
    SettingError : no such name, or no such device here.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise SettingError(f"device {name!r}", expected="auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise SettingError("device 'cuda', but torch sees none", hint="--device cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def keep_memory() -> None:
    """Keep freed memory for the next step instead of handing it back.

    Without this glibc maps and unmaps every large tensor; the page faults cost a
    quarter of a training step on a CPU.  Elsewhere than on glibc nothing is done.
    """
    if sys.platform != "linux" or not hasattr(c := ctypes.CDLL(None), "mallopt"):
        return
    trim_threshold, mmap_threshold = -1, -3  # names of these two in glibc's malloc.h
    c.mallopt(mmap_threshold, 32 * 2**20)
    c.mallopt(trim_threshold, 2**31 - 1)


def has_bfloat16(device: torch.device) -> bool:
    """Whether 16-bit arithmetic is quicker than 32-bit there."""
    return device.type == "cuda" or bool(torch.cpu._is_avx512_bf16_supported())
