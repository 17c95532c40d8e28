"""What a managed runtime's own `bootstrap.py` does for `sys.path`, then our runtime instead of the stock one.

Source: the bootstrap of the AWS base images for Python 3.10 to 3.13.
"""

from __future__ import annotations

import os
import site
import sys


def main() -> None:
    """Prepare the paths as functions on the managed runtime expect them, and run `$_HANDLER`."""
    task_root = os.environ["LAMBDA_TASK_ROOT"]
    package_folder = sys.path.pop(0)  # the wrapper's way in
    _extend_path(task_root)
    if package_folder not in sys.path:
        sys.path.append(package_folder)
    if "PYTHONPATH" not in os.environ and "LAMBDA_RUNTIME_DIR" in os.environ:
        os.environ["PYTHONPATH"] = os.environ["LAMBDA_RUNTIME_DIR"]

    from lambda_streaming.runtime import run

    run([task_root, os.environ["_HANDLER"]])


def _extend_path(task_root: str) -> None:
    if "PYTHONPATH" not in os.environ:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        for folder in (
            f"/opt/python/lib/{version}/site-packages",
            "/opt/python",
            f"/var/lang/lib/{version}/site-packages",
        ):
            site.addsitedir(folder)
    site.addsitedir(task_root)
    sys.path = [task_root, *(folder for folder in sys.path if folder != task_root)]
