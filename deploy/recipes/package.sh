#!/bin/sh
# Makes package/ and function.zip from function/: the app, and its dependencies for Python 3.13 on Graviton.
set -eu
cd "$(dirname "$0")"
rm -rf package function.zip
python3 -m pip install --quiet --target package --python-version 3.13 --platform manylinux2014_aarch64 \
  --only-binary=:all: --requirement function/requirements.txt
cp function/*.py package/
(cd package && zip -qr ../function.zip .)
