"""Builds zip files for Lambda: without Docker, and reproducible byte for byte.

`installation` installs locked dependencies for a target with uv, `selection` selects the files, `byte_code`
compiles, `archive` writes the zip, and `sizes` reports what it contains. They run on the machine that builds,
never on Lambda.
"""
