#!/bin/sh
# One agent: an issue, then the next. Usage: agent.sh LABEL
set -u
stop=
trap 'stop=yes' TERM INT          # finish the issue first
python3 busy.py READY=1 X_WEIR_BUSY=0
while [ -z "$stop" ]; do
  echo "$WEIR_WORKER looks for an issue labelled $1"
  python3 busy.py X_WEIR_BUSY=1 "STATUS=working on an issue"
  sleep "${AGENT_SECONDS:-5}"     # put the agent's own command here
  python3 busy.py X_WEIR_BUSY=0 "STATUS=waiting for an issue"
  sleep "${AGENT_PAUSE:-1}"
done
