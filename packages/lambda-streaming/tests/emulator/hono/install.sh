#!/bin/sh
# Installs Hono into .cache/hono.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
exec "$here/../../../../../tests/support/npm_ci.sh" "$here" hono "Hono" "$@"
