#!/bin/sh
# Installs Lighthouse, which bench/lighthouse.py and a test of the page run, into .cache/lighthouse.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
exec "$here/../../support/npm_ci.sh" "$here" lighthouse "Lighthouse" "$@"
