#!/bin/sh
# Installs clients of event streams into .cache/event-stream-clients.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
exec "$here/../../../../../../tests/support/npm_ci.sh" "$here" event-stream-clients "The npm clients of event streams" "$@"
