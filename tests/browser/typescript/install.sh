#!/bin/sh
# Installs the TypeScript compiler into .cache/typescript.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
exec "$here/../../support/npm_ci.sh" "$here" typescript "The TypeScript compiler" "$@"
