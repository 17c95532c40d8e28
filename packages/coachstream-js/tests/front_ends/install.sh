#!/bin/sh
# Installs React, Vite, Next.js, the AI SDK and what builds and measures apps into .cache/front-ends.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
exec "$here/../../../../tests/support/npm_ci.sh" "$here" front-ends "The tools of the npm package's apps" "$@"
