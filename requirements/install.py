"""Install a lock file with uv: `python requirements/install.py LOCK`.

pip takes a minute where uv takes seconds, so pip only installs uv, once. Needs nothing but Python and its
pip. The index, certificates and links in pip's configuration are passed to uv.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path

_UV_LOCK = Path(__file__).with_name("install.lock")
_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
_SETTING = re.compile(r"^[\w:-]+\.([\w-]+)=(.*)$", re.MULTILINE)
#: uv's variables for pip's settings.
_UV_VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
}


def install(lock: Path) -> int:
    """Install a lock file, and return the exit status of the step that failed, or 0."""
    began = time.monotonic()
    status = _install_uv() or _run_uv(lock)
    if status:
        sys.stderr.write(
            f"  {lock.name} could not be installed, for the reason above. Check the network and the "
            "package index (`pip config list`).\n"
        )
    else:
        sys.stderr.write(f"  Installed {lock.name} in {time.monotonic() - began:.0f} s.\n")
    return status


def _install_uv() -> int:
    if importlib.util.find_spec("uv") is not None:
        return 0
    command = [*_PIP, "install", "--quiet", "--require-hashes", "--requirement", str(_UV_LOCK)]
    return subprocess.run(command, check=False).returncode  # noqa: S603 (ours)


def _run_uv(lock: Path) -> int:
    # On a terminal it shows its progress; elsewhere a line for each package would be too much.
    quiet = [] if sys.stderr.isatty() else ["--quiet"]
    command = [sys.executable, "-m", "uv", "pip", "install", *quiet, "--python", sys.executable]
    return subprocess.run(  # noqa: S603 (ours)
        [*command, "--compile-bytecode", "--require-hashes", "--requirement", str(lock)],
        check=False,
        # The user's settings for uv take precedence. Files must match their hashes, whatever their index.
        env={"UV_INDEX_STRATEGY": "unsafe-best-match", **_pip_configuration(), **os.environ},
    ).returncode


def _pip_configuration() -> dict[str, str]:
    listed = subprocess.run(  # noqa: S603 (ours)
        [*_PIP, "config", "list"], check=False, capture_output=True, text=True
    ).stdout
    found = {name: str(ast.literal_eval(value)).split() for name, value in _SETTING.findall(listed)}
    return {
        variable: ("," if name == "find-links" else " ").join(found[name])
        for name, variable in _UV_VARIABLES.items()
        if name in found
    }


if __name__ == "__main__":
    try:
        sys.exit(install(Path(sys.argv[1])))
    except KeyboardInterrupt:
        sys.exit(130)
