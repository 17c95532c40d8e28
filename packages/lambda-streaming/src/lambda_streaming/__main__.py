"""`python -m lambda_streaming package.module.function`."""

from lambda_streaming.runtime import main

main()
