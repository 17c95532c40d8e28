"""Makes the package that Lambda runs: a zip, without Docker, the same bytes for the same input.

`build` puts it together from what the others do: `installation` has uv install the dependencies for the
target, `selection` says what of them and of ours goes along, `byte_code` compiles, and `archive` writes the
zip. It runs where one deploys, and never on Lambda.
"""
