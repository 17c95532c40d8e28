"""Sets up `sys.path` as a managed runtime's `bootstrap.py` does, then starts our runtime instead of AWS's.

Source: `bootstrap.py` in the AWS base images for Python 3.10 and 3.11. The order decides which packages win:
the function's, then its layers', then those included in the managed runtime.
"""

from __future__ import annotations

import os
import site
import sys
from pathlib import Path
from typing import Final

_LAYERS: Final = Path("/opt/python")
_LANGUAGE: Final = Path("/var/lang")


def main() -> None:
    """Set up the paths as functions on the managed runtime expect them, and run `$_HANDLER`.

    The wrapper sets `sys.argv` to `-c`, the function's folder, the folder that contains our package, and
    Lambda's `bootstrap.py`. Both folders are in front of `sys.path`, so that the function's own packages win
    from the start.
    """
    _, task_root, package_folder, bootstrap = sys.argv
    sys.argv = [bootstrap]
    del sys.path[:2]
    if not sys.flags.safe_path:
        # As if bootstrap.py were running: in older images its folder holds boto3 and awslambdaric.
        sys.path[0] = str(Path(bootstrap).parent)
    extend_path(task_root)
    if package_folder not in sys.path:
        # A layer, for a function that sets PYTHONPATH; it still wins over what the managed runtime includes.
        sys.path.insert(1, package_folder)
    if "PYTHONPATH" not in os.environ and "LAMBDA_RUNTIME_DIR" in os.environ:
        os.environ["PYTHONPATH"] = os.environ["LAMBDA_RUNTIME_DIR"]

    from lambda_streaming.runtime import run

    run([task_root, os.environ["_HANDLER"]])


def extend_path(task_root: str, *, layers: Path = _LAYERS, language: Path = _LANGUAGE) -> None:
    """Put the function's folder and its layers in front of `sys.path`, and process their `.pth` files."""
    site_packages = Path("lib", f"python{sys.version_info.major}.{sys.version_info.minor}", "site-packages")
    first, sites = [task_root], [task_root]
    if "PYTHONPATH" not in os.environ:
        layered = [str(layers / site_packages), str(layers)]
        first += [*layered, str(language / site_packages)]
        sites += layered
    sys.path[:0] = first
    for folder in sites:
        site.addsitedir(folder)
