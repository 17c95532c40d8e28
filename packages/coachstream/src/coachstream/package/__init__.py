"""Builds the deployment package for Lambda: a zip file, without Docker, reproducible byte for byte.

`build` combines the steps: `installation` installs the dependencies for the target with uv, `selection`
selects the files to package, `byte_code` compiles, and `archive` writes the zip. It runs on the machine that
deploys, never on Lambda.
"""
