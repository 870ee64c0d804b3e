#!/bin/sh
# Runs `stream` with a key for its stored state: STREAM_STATE_KEY when it is set, else one that is made once and kept in
# the state directory, which all workers of this machine share. Workers on several machines need the same
# STREAM_STATE_KEY, because one refuses what another signed with a different key.
set -eu

state=${STREAM_STATE_DIR:-/var/lib/stream}
key=$state/state.key

if [ -z "${STREAM_STATE_KEY:-}" ]; then
  if [ ! -s "$key" ]; then
    umask 077
    if ! new=$(mktemp "$state/.state.key.XXXXXX" 2>/dev/null); then
      echo "stream: cannot write to $state: make it writable for user $(id -u), or set STREAM_STATE_KEY to at least 32 random characters, the same for all workers" >&2
      exit 2
    fi
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$new"
    # Whoever links first wins; a worker that starts at the same moment takes the winner's key.
    ln "$new" "$key" 2>/dev/null || true
    rm -f "$new"
  fi
  STREAM_STATE_KEY=$(cat "$key")
  export STREAM_STATE_KEY
fi

exec stream "$@"
