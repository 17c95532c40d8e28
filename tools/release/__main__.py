"""`make dist`: build the packages into `dist/`, check them, and report every problem in one sentence."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from release.build import BuildFailed, build
from release.checks import check, project_urls

ROOT = Path(__file__).parents[2]
EXIT_PROBLEMS = 1


def main(arguments: list[str]) -> int:
    """Build and check; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="make dist",
        description="Build the wheels, the source distributions and the npm package, and check them.",
        epilog="Exit status: 0 if they can be published, 1 if there is a problem, 2 for wrong options.",
    )
    parser.add_argument(
        "--output", type=Path, default=ROOT / "dist", help="folder to build into (default: dist)"
    )
    parser.add_argument(
        "--release", action="store_true", help="require a dated changelog section for each version, too"
    )
    options = parser.parse_args(arguments)
    try:
        built = build(ROOT, options.output.resolve())
    except BuildFailed as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_PROBLEMS
    problems = list(check(ROOT, built, release=options.release))
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    if problems:
        return EXIT_PROBLEMS
    for path in built.artifacts():
        sys.stdout.write(f"{path}\n")
    if built.npm_tarball is None:
        sys.stderr.write("Note: npm is not installed, so the npm package was neither built nor checked.\n")
    for name in [name for name, urls in project_urls(built).items() if not urls]:
        sys.stderr.write(f"Note: {name} names no project URLs, so its page on the index links nowhere.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
