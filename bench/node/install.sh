#!/bin/sh
# Installs what the reference function of bench/whole_turn.py is made of into .cache/bench-node.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
exec "$here/../../tests/support/npm_ci.sh" "$here" bench-node "The reference function in Node" "$@"
