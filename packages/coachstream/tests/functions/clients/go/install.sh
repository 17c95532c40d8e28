#!/bin/sh
# Builds two programs that read event streams with Go's clients, into .cache/event-stream-clients-go, once for each
# version of what they are made of. Needs Go 1.22 or newer; takes some ten seconds.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=$(cd "$here/../../../../../.." && pwd)/.cache/event-stream-clients-go
made_of=$(cat "$here/go.mod" "$here/go.sum" "$here"/*/main.go | cksum)

if [ "$(cat "$cache/made-of" 2>/dev/null)" = "$made_of" ]; then
  exit 0
fi
peer_mode=${1:-}
. "$here/../../../../../../tests/support/peer.sh"
require "Go's clients of event streams" go
echo "Building Go's clients of event streams in .cache/event-stream-clients-go (once) ..." >&2
mkdir -p "$cache"
rm -f "$cache/made-of"
if ! (cd "$here" && go build -mod=readonly -o "$cache/" ./...) >"$cache/install.log" 2>&1; then
  tail -n 30 "$cache/install.log" >&2
  exit 1
fi
echo "$made_of" >"$cache/made-of"
