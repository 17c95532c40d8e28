#!/bin/sh
# Builds a streaming function on Rust's lambda_http into .cache/rust-function, once for each version of its files. Needs a
# Rust toolchain and a C compiler; takes about a minute, and a moment when it is there already.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=$(cd "$here/../../../../.." && pwd)/.cache/rust-function

if cat "$here/Cargo.lock" "$here/Cargo.toml" "$here/src/main.rs" | cmp -s - "$cache/installed"; then
  exit 0
fi
peer_mode=${1:-}
. "$here/../../../../../tests/support/peer.sh"
require "The Rust function" cargo
echo "Building a Rust function in .cache/rust-function (once, about a minute) ..." >&2
mkdir -p "$cache"
rm -f "$cache/installed"
if ! cargo build --locked --manifest-path "$here/Cargo.toml" --target-dir "$cache/target" >"$cache/install.log" 2>&1; then
  tail -n 30 "$cache/install.log" >&2
  exit 1
fi
mv "$cache/target/debug/streaming-function" "$cache/streaming-function"
rm -rf "$cache/target"
cat "$here/Cargo.lock" "$here/Cargo.toml" "$here/src/main.rs" >"$cache/installed"
