#!/bin/sh
# Installs Amplify's libraries, CDK and TypeScript, as deploy/amplify pins them, into .cache/amplify (900 MB, a minute).
set -eu
root=$(cd "$(dirname "$0")/../../../../.." && pwd)
exec "$root/tests/support/npm_ci.sh" "$root/deploy/amplify" amplify "Amplify's libraries" "$@"
