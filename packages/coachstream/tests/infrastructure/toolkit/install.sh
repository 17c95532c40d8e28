#!/bin/sh
# Installs the CDK toolkit into .cache/cdk.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
exec "$here/../../../../../tests/support/npm_ci.sh" "$here" cdk "The CDK toolkit" "$@"
