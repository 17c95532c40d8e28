#!/bin/sh
# Installs the AWS SDK for JavaScript into .cache/bedrock-node.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
exec "$here/../../../../../tests/support/npm_ci.sh" "$here" bedrock-node "The AWS SDK for JavaScript" "$@"
