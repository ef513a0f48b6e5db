#!/bin/sh
# Runs the gateway with the Node that came with it; options as --help says them. Settings: the file that
# ARCHIPEL_EDGE_SETTINGS names, else /etc/archipel/edge-gateway.toml where there is one.
set -eu
home=$(dirname "$(dirname "$(readlink -f "$0")")")
if [ -z "${ARCHIPEL_EDGE_SETTINGS:-}" ] && [ -e /etc/archipel/edge-gateway.toml ]; then
  export ARCHIPEL_EDGE_SETTINGS=/etc/archipel/edge-gateway.toml
fi
# Threads for the disk: a sync per open pack may wait at once, and reads must not wait behind them.
export UV_THREADPOOL_SIZE="${UV_THREADPOOL_SIZE:-16}"
# What comes from sockets lives for milliseconds: a small young generation lets go of it early and cheaply.
exec "$home/bin/node" --max-semi-space-size=2 --disable-warning=ExperimentalWarning "$home/app/main.mjs" "$@"
