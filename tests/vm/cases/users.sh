# as: root
# root's daemon runs tasks as another user, who reads the task from its file and standard input and leaves a result, and cannot
# read anything else of the daemon's.
# seconds: 60
. /payload/lib.sh
cat >"$home/work" <<'SH2'
task=$(cat "$WEIR_TASK_FILE")
[ "$task" = "$(cat)" ] || exit 9
seen=""
for path in "$WEIR_STATE" "$(dirname "$WEIR_TASK_FILE")"; do
  if ls "$path" >/dev/null 2>&1; then seen+="$path "; fi
done
if cat "$WEIR_STATE/weir.db" >/dev/null 2>&1; then seen+=weir.db; fi
n=${task##*'"n":'}
echo "{\"user\": $UID, \"n\": ${n%%[!0-9]*}, \"seen\": \"$seen\"}" >"$WEIR_RESULT_FILE"
SH2
chmod 755 "$home" && chmod 644 "$home/work"
cat >"$specs/hers.yaml" <<YAML
apiVersion: weir.dev/v1
kind: WorkerPool
metadata: {name: hers}
spec:
  replicas: 1
  template: {command: [bash, $home/work], user: ann, workingDir: /}
  queue: {}
YAML
weir_up
wait_for 40 is pool/hers .status.desiredReplicas 1
for n in 1 2; do
  result=$(ctl submit hers --wait=60s -o 'jsonpath={.result}' -- "{\"n\": $n}" || true)
  [ -n "$result" ] || ctl logs "task/$n"
  equal "$result" "{\"user\":1000,\"n\":$n,\"seen\":\"\"}" "the result of task $n"
done
weir_down
equal "$(ls /run/weir/*/tasks | grep -c result || true)" 0 "results that nobody took"
rm -rf /run/weir
