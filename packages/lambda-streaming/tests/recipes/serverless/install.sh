#!/bin/sh
# Installs the Serverless Framework's community continuation into .cache/serverless.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
exec "$here/../../../../../tests/support/npm_ci.sh" "$here" serverless "The Serverless Framework" "$@"
