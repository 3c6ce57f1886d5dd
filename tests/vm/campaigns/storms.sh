# as: root ann
# While limits of a unit are changed 200 times, systemd reads its units again 100 times, is executed again 50 times, and the bus
# is started anew 20 times. All changes are made in the end, and no worker notices.
# seconds: 3600
. /payload/lib.sh
patches=${rounds:-200}
service case-storm <<UNIT
[Service]
ExecStart=/bin/sleep 100000
TasksMax=12
UNIT
pid=$("${systemctl[@]}" show -P MainPID case-storm)
dir=/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$pid/cgroup")
cat >"$specs/workers.yaml" <<'YAML'
apiVersion: weir.dev/v1
kind: WorkerPool
metadata: {name: workers}
spec:
  replicas: 3
  template:
    command: [sleep, "100000"]
    resources: {limits: {memory: 64Mi, tasks: 20}}
YAML
cat >"$specs/storm.yaml" <<'YAML'
apiVersion: weir.dev/v1
kind: ResourcePolicy
metadata: {name: storm}
spec:
  target: {unit: {name: case-storm.service}}
  checkInterval: 1s
  mode: Manual
  bounds:
    min: {memory: 32Mi, tasks: 10}
    max: {memory: 1Gi, tasks: 1000}
  manual: {memory: 64Mi, tasks: 20}
YAML
weir_up
wait_for 60 is pool/workers .status.readyReplicas 3
holds() { # holds MEMORY-MI TASKS: in the kernel, in systemd and in the policy
  [ "$(cat "$dir/memory.max" "$dir/pids.max")" = "$(printf '%s\n' $(($1 << 20)) "$2")" ] &&
    [ "$("${systemctl[@]}" show -P MemoryMax -P TasksMax case-storm)" = "$(printf '%s\n' $(($1 << 20)) "$2")" ] &&
    [ "$(ctl get policy/storm -o 'jsonpath={.status.limits.memory} {.status.limits.tasks}')" = "$1Mi $2" ]
}
wait_for 60 holds 64 20
# A process is who it is by its number and the moment when it began.
failed() { is policy/storm '.status.conditions[?(@.type=="Failed")].status' True; }
waited() { # waited MEMORY-MI TASKS: until they hold; one that has failed will never
  local until=$((SECONDS + 60 * patience))
  until holds "$1" "$2"; do
    if failed; then field policy/storm '.status.conditions[?(@.type=="Failed")].message'; fail "the policy has failed"; fi
    [ $SECONDS -lt $until ] || fail "waited in vain for $1 Mi and $2 tasks"
    sleep 0.3
  done
}
workers() { ctl get workers -l weir.dev/pool=workers -o 'jsonpath={.items[*].status.pid}'; }
before=$(born $pid $(workers))
equal "$(wc -l <<<"$before")" 4 "the number of processes"

declare -A blown=([daemon-reexec]=0 [daemon-reload]=0 ["restart dbus"]=0) refused=()
began=$SECONDS
for n in $(seq "$patches"); do
  # With every second change, every fourth, and every tenth on average; a storm is over before the next
  # one begins, or there would be no manager at all.
  what=""
  if [ $((n % 2)) = 1 ]; then what=daemon-reload; fi
  if [ $((n % 4)) = 2 ]; then what=daemon-reexec; fi
  case $((n % 20)) in 0 | 8) what="restart dbus" ;; esac
  ctl set manual policy/storm "memory=$((64 + n))Mi" "tasks=$((20 + n))" >/dev/null & patch=$!
  if [ -n "$what" ]; then
    sleep 0.$((RANDOM % 10))
    # Its own connection may be lost with what it began.
    if "${systemctl[@]}" $what; then blown[$what]=$((blown[$what] + 1)); else refused[$what]=$((${refused[$what]:-0} + 1)); fi
  fi
  wait $patch
  # Some are waited for, most meet the one before them.
  if [ $((n % 10)) = 0 ]; then waited $((64 + n)) $((20 + n)); fi
done
waited $((64 + patches)) $((20 + patches))
# And one more in the calm.
ctl set manual policy/storm memory=50Mi tasks=15 >/dev/null
waited 50 15
equal "$(born $pid $(workers))" "$before" "the processes"
wait_for 60 is pool/workers .status.readyReplicas 3
ctl policy history storm --limit 10000 >"$home/history"
echo "measured: $patches patches, ${blown[daemon-reexec]} daemon-reexec, ${blown[daemon-reload]} daemon-reload, ${blown[restart dbus]} bus restarts (and" \
  "${refused[daemon-reexec]:-0}, ${refused[daemon-reload]:-0}, ${refused[restart dbus]:-0} of which systemctl did not hear the end) in" \
  "$((SECONDS - began)) s; history: $(grep -c Manual "$home/history") changes made, $(grep -c Rollback "$home/history" || true) rolled back;" \
  "$(wc -l <<<"$before") processes unchanged"
weir_down
