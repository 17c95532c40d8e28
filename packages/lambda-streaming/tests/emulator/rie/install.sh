#!/bin/sh
# Builds AWS's own runtime interface emulator with Go into .cache/aws-lambda-rie, once. Takes half a minute.
set -eu
version=v0.0.0-20261030222936-bef5c4ba774d
here=$(cd "$(dirname "$0")" && pwd)
cache=$(cd "$here/../../../../.." && pwd)/.cache/aws-lambda-rie

if [ "$(cat "$cache/version" 2>/dev/null)" = "$version" ]; then
  exit 0
fi
peer_mode=${1:-}
. "$here/../../../../../tests/support/peer.sh"
require "AWS's runtime interface emulator" go
echo "Building AWS's runtime interface emulator in .cache/aws-lambda-rie (once) ..." >&2
mkdir -p "$cache"
rm -f "$cache/version"
if ! GOBIN="$cache" go install \
  "github.com/aws/aws-lambda-runtime-interface-emulator/cmd/aws-lambda-rie@$version" >"$cache/install.log" 2>&1; then
  tail -n 30 "$cache/install.log" >&2
  exit 1
fi
echo "$version" >"$cache/version"
