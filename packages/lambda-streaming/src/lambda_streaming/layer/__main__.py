"""`python -m lambda_streaming.layer`: builds the layer, and prints what to do with it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lambda_streaming.layer.build import EXEC_WRAPPER, PYTHONS, Layer, build
from lambda_streaming.packaging.byte_code import ByteCode
from lambda_streaming.packaging.errors import PackageError
from lambda_streaming.packaging.sizes import MEGABYTE
from lambda_streaming.packaging.target import Cpu

_DESCRIPTION = """\
Build a Lambda layer: an existing function then streams its responses with the layer and one environment
variable, without a change to its package. It needs no Docker, and the same input gives the same zip.
"""

_AFTERWARDS = f"""\
Publish it, then add it to a function with
  AWS_LAMBDA_EXEC_WRAPPER={EXEC_WRAPPER}
and set the invoke mode of its Function URL to RESPONSE_STREAM.
"""


def main() -> None:
    """Run the program."""
    options = _parser().parse_args()
    output: Path = options.output
    if not output.parent.is_dir():
        sys.exit(f"The folder {output.parent} for {output.name} does not exist.")
    try:
        layer = build(
            output,
            # Without repetitions, and in one order: the order of the options does not change the layer.
            pythons=[python for python in PYTHONS if python in (options.python or PYTHONS)],
            cpus=[cpu for cpu in Cpu if cpu in (options.architecture or Cpu)],
            byte_code=options.byte_code,
            on_step=lambda step: print(f"{step} ...", file=sys.stderr),  # noqa: T201 (a program's progress)
        )
    except PackageError as problem:
        sys.exit(str(problem))
    except OSError as problem:
        sys.exit(f"Cannot use {problem.filename or output}: {problem.strerror}.")
    print(_report(layer))  # noqa: T201 (a program's output)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lambda_streaming.layer",
        description=_DESCRIPTION,
        epilog=_AFTERWARDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("lambda-streaming-layer.zip"),
        metavar="FILE",
        help="zip file to write (default: %(default)s)",
    )
    parser.add_argument(
        "--architecture",
        action="append",
        type=Cpu,
        choices=list(Cpu),
        help="CPU architecture of the functions; repeat it for both (default: both)",
    )
    parser.add_argument(
        "--python",
        action="append",
        choices=PYTHONS,
        help="Python version of the runtime; repeat it for several (default: all)",
    )
    parser.add_argument(
        "--byte-code",
        type=ByteCode,
        choices=list(ByteCode),
        default=ByteCode.AUTO,
        help="precompile byte code for faster cold starts: for each Python version that is installed here, "
        "for all, or never, which gives the same zip on every machine (default: %(default)s)",
    )
    return parser


def _report(layer: Layer) -> str:
    rows = [(each.name, each.unzipped, each.zipped) for each in layer.components]
    rows.append(("together", sum(row[1] for row in rows), layer.path.stat().st_size))
    width = max(len(name) for name, _, _ in rows)
    lines = [f"{'':{width}}  unzipped  in the zip"]
    lines += [
        f"{name:{width}} {unzipped / MEGABYTE:6.2f} MB {zipped / MEGABYTE:8.2f} MB"
        for name, unzipped, zipped in rows
    ]
    runtimes = " ".join(f"python{python}" for python in layer.pythons)
    missing = [python for python in layer.pythons if python not in layer.compiled]
    if missing and layer.compiled:
        lines.append(f"Without byte code for Python {', '.join(missing)}, which this machine does not have.")
    elif missing:
        lines.append("Without byte code: each cold start compiles what it imports.")
    published = f"--layer-name lambda-streaming --zip-file fileb://{layer.path}"
    lines += [
        f"{layer.path}, for {runtimes} on {' and '.join(layer.cpus)}",
        f"sha256 {layer.sha256}",
        "",
        f"  aws lambda publish-layer-version {published} \\",
        f"    --compatible-runtimes {runtimes} --compatible-architectures {' '.join(layer.cpus)}",
        "",
        _AFTERWARDS,
    ]
    return "\n".join(lines).rstrip()


if __name__ == "__main__":
    main()
