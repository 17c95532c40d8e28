#!/bin/sh
# Builds the Lambda Web Adapter with cargo into .cache/web-adapter, once. Needs a Rust toolchain and a C compiler;
# takes one to two minutes, and a moment when it is there already.
set -eu
version=1.0.0-rc1
here=$(cd "$(dirname "$0")" && pwd)
cache=$(cd "$here/../../../../.." && pwd)/.cache/web-adapter

if [ "$(cat "$cache/version" 2>/dev/null)" = "$version" ]; then
  exit 0
fi
peer_mode=${1:-}
. "$here/../../../../../tests/support/peer.sh"
require "The Lambda Web Adapter" cargo
echo "Building the Lambda Web Adapter in .cache/web-adapter (once, one to two minutes) ..." >&2
mkdir -p "$cache"
rm -f "$cache/version"
if ! cargo install lambda_web_adapter --version "$version" --locked --force --root "$cache" \
  >"$cache/install.log" 2>&1; then
  tail -n 30 "$cache/install.log" >&2
  exit 1
fi
echo "$version" >"$cache/version"
