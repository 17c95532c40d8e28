"""`python -m lambda_streaming.emulator`: the command line, or a sentence about the missing extra."""

from __future__ import annotations

import sys

EXIT_MISSING_EXTRA = 1

if __name__ == "__main__":
    try:
        from lambda_streaming.emulator.cli import main
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "lambda_streaming":
            raise
        sys.stderr.write(
            f"The emulator needs {package}. Install it with: pip install 'lambda-streaming[emulator]'\n"
        )
        sys.exit(EXIT_MISSING_EXTRA)
    main()
