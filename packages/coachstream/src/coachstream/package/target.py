"""What a package is for."""

from __future__ import annotations

import platform
import sys
from enum import StrEnum

import msgspec

from coachstream.infrastructure.target import ARCHITECTURE, PYTHON
from coachstream.package.errors import PackageError

_GLIBC = "2_34"
"""Of Amazon Linux 2023, which managed runtimes since Python 3.12 are based on (Lambda developer guide)."""


class Cpu(StrEnum):
    """The CPUs that Lambda offers, as it names them."""

    ARM64 = "arm64"
    X86_64 = "x86_64"

    @property
    def machine(self) -> str:
        """As wheels and `uname` name it."""
        return "aarch64" if self is Cpu.ARM64 else "x86_64"


class Target(msgspec.Struct, frozen=True):
    """A Python, as `3.14`, on a CPU, on Lambda's Linux."""

    python: str = PYTHON
    cpu: Cpu = Cpu(ARCHITECTURE)

    @property
    def platform(self) -> str:
        """As uv names it."""
        return f"{self.cpu.machine}-manylinux_{_GLIBC}"

    @property
    def is_this_interpreter(self) -> bool:
        """Whether the running Python writes byte code for it."""
        return self.python == _python()

    def __str__(self) -> str:
        return f"Python {self.python} on {self.cpu}"


def this_machine() -> Target:
    """The target that can be run here.

    Raises:
        PackageError: it is no Linux, or on another CPU.
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
