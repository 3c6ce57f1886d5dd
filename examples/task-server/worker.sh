#!/bin/sh
# A worker: takes a task, says that it goes on, does it, says how it ended. `ctl task` finds weir and the worker's name by itself.
while :; do
  line=$(ctl task next --wait 60s -o jsonpath='{.token} {.payload}') || { sleep 1; continue; }
  token=${line%% *} payload=${line#* }
  ctl task heartbeat "$token" --progress "begun" > /dev/null
  case $payload in
    *broken*) ctl task fail "$token" --message "it is broken" ;;
    *) ctl task done "$token" --result "{\"by\": \"$WEIR_WORKER\"}" ;;
  esac
done
