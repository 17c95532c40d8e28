#!/bin/sh
# Installs what the page ships in its folder `vendor`, and axe-core, into .cache/page-libraries.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
exec "$here/../../support/npm_ci.sh" "$here" page-libraries "The page's libraries" "$@"
