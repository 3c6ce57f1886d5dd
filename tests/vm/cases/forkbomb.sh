# as: root ann
# A worker that forks without end is held by its task limit; others do not notice; it is killed whole within 2 s.
# seconds: 90
. /payload/lib.sh
times=${rounds:-${often:-1}}
cat >"$specs/calm.yaml" <<'YAML'
apiVersion: weir.dev/v1
kind: WorkerPool
metadata: {name: calm}
spec:
  replicas: 3
  template: {command: [sleep, "100000"]}
YAML
cat >"$specs/bomb.yaml" <<'YAML'
apiVersion: weir.dev/v1
kind: WorkerPool
metadata: {name: bomb}
spec:
  replicas: 0
  template:
    command: [python3, -c, "import os, time\nwhile True:\n  try: os.fork()\n  except OSError: time.sleep(0.5)"]
    restartPolicy: Never
    terminationGracePeriod: 0s
    resources: {limits: {tasks: 40}}
YAML
weir_up
wait_for 40 is pool/calm .status.readyReplicas 3
calm_pids() { ctl get workers -l weir.dev/pool=calm -o 'jsonpath={.items[*].status.pid}'; }
calm=$(born $(calm_pids))
equal "$(wc -l <<<"$calm")" 3 "calm workers"
group() { echo "$cgroup_root"/weir.slice/weir-*.slice/weir-*-bomb.slice/weir-*-bomb-0.scope/w; }
full() { [ "$(cat "$(group)/pids.current")" = 40 ]; }
all=""
for n in $(seq "$times"); do
  ctl scale pool/bomb --replicas 1 >/dev/null
  wait_for 60 full
  dir=$(group)
  had=$(wc -l <"$dir/cgroup.procs")
  refused=$(sed -n 's/^max //p' "$dir/pids.events")
  [ "$refused" -gt 0 ] || fail "it was never refused a process"
  ctl scale pool/bomb --replicas 0 >/dev/null
  # From the change's answer; how long ctl itself takes to start in this machine is no part of it.
  began=$(micros)
  # The builtin alone: a process would cost more than what is measured.
  until read -r _ populated 2>/dev/null <"$dir/cgroup.events" && [ "$populated" = 0 ] || [ ! -e "$dir" ]; do
    [ $(($(micros) - began)) -lt $((60000000 * patience)) ] || fail "it is not gone after a minute"
  done
  took=$((($(micros) - began) / 1000))
  all+="$took "
  equal "$(born $(calm_pids))" "$calm" "the calm workers"
done
sorted=$(tr ' ' '\n' <<<"$all" | sort -n | grep .)
echo "measured: $times bombs of $had processes each, held at 40 tasks ($refused forks refused the last): killed whole in ms: median" \
  "$(sed -n "$(((times + 1) / 2))p" <<<"$sorted"), most $(tail -n 1 <<<"$sorted"); 3 other workers unchanged"
[ "$(tail -n 1 <<<"$sorted")" -lt $((2000 * patience)) ] || fail "it took longer than 2 s of a quiet machine"
weir_down
