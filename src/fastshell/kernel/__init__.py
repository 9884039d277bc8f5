"""Requests to replies, for any language: `Kernel` is what a language subclasses."""

from fastshell.kernel.base import Kernel

__all__ = ["Kernel"]
