"""ipykernel.jsonutil: what once had to be done before JSON was written, and is done by the kernel now."""

from __future__ import annotations

from typing import TypeVar

from fastshell.compat import _finder

__all__ = ["encode_images", "json_clean"]

T = TypeVar("T")


def json_clean(obj: T) -> T:
    """The same object: whatever is in it, the kernel finds JSON for it (as since ipykernel 6.10)."""
    return obj


def encode_images(format_dict: T) -> T:
    """The same object: images as bytes are encoded when they are sent."""
    return format_dict


__getattr__ = _finder.fall_through("jsonutil")
