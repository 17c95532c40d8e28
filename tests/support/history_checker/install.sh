#!/bin/sh
# Builds the program that checks histories of the run store with porcupine, into .cache/history-checker, once for each
# version of what it is made of. Needs Go 1.22 or newer; takes some ten seconds.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=$(cd "$here/../../.." && pwd)/.cache/history-checker
made_of=$(cat "$here/go.mod" "$here/go.sum" "$here"/*.go | cksum)

if [ "$(cat "$cache/made-of" 2>/dev/null)" = "$made_of" ]; then
  exit 0
fi
peer_mode=${1:-}
. "$here/../peer.sh"
require "The checker of histories" go
echo "Building the checker of histories in .cache/history-checker (once) ..." >&2
mkdir -p "$cache"
rm -f "$cache/made-of"
if ! (cd "$here" && go build -mod=readonly -o "$cache/" .) >"$cache/install.log" 2>&1; then
  tail -n 30 "$cache/install.log" >&2
  exit 1
fi
echo "$made_of" >"$cache/made-of"
