"""The Python and CPU that a package is built for."""

from __future__ import annotations

import platform
import sys
from enum import StrEnum

import msgspec

from lambda_streaming.packaging.errors import PackageError

_GLIBC = "2_34"
"""The glibc of Amazon Linux 2023, the base of managed runtimes since Python 3.12 (Lambda developer guide,
"Lambda runtimes", 2026-11-28)."""

_ON_AMAZON_LINUX_2 = "3.11"
_GLIBC_BEFORE = "2_17"
"""Amazon Linux 2 has glibc 2.26; this is the nearest older one that uv knows (manylinux2014)."""


class Cpu(StrEnum):
    """The CPU architectures of Lambda, by its names."""

    ARM64 = "arm64"
    X86_64 = "x86_64"

    @property
    def machine(self) -> str:
        """The name in wheels and in `uname`."""
        return "aarch64" if self is Cpu.ARM64 else "x86_64"


class Target(msgspec.Struct, frozen=True):
    """A Python version, such as `3.14`, and a CPU, on Lambda's Linux."""

    python: str
    cpu: Cpu

    @property
    def platform(self) -> str:
        """The platform's name in uv."""
        glibc = _GLIBC_BEFORE if self.python == _ON_AMAZON_LINUX_2 else _GLIBC
        return f"{self.cpu.machine}-manylinux_{glibc}"

    @property
    def is_this_interpreter(self) -> bool:
        """Whether the running Python can compile for it."""
        return self.python == _python()

    def __str__(self) -> str:
        return f"Python {self.python} on {self.cpu}"


def this_machine() -> Target:
    """Return the target of this machine.

    Raises:
        PackageError: it is not Linux, or has another CPU.
    """
    machine = platform.machine()
    for cpu in Cpu:
        if sys.platform == "linux" and cpu.machine == machine:
            return Target(_python(), cpu)
    raise PackageError(
        f"Lambda does not run on {sys.platform} on {machine}, so there is no package for this machine."
    )


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"
