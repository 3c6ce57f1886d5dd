# as: root ann
# A worker lives in a scope of its own that systemctl shows; its limits stand in the kernel's files; it outlives its daemon, a
# reload and a re-execution of systemd, and a restart of the bus; and nothing of it is left afterwards.
# seconds: 120
. /payload/lib.sh
cat >"$specs/two-workers.yaml" <<'YAML'
apiVersion: weir.dev/v1
kind: WorkerPool
metadata: {name: two-workers}
spec:
  replicas: 2
  template:
    command: [sleep, "100000"]
    resources: {limits: {cpu: 500m, memory: 64Mi, tasks: 20}}
YAML
weir_up --on-exit leave
grep cgroups: "$home/weir.log"
has 'cgroups: systemd at ' "$home/weir.log"
wait_for 30 is pool/two-workers .status.readyReplicas 2
pids() { for n in 0 1; do field "worker/two-workers-$n" .status.pid; echo; done; }
before=$(pids)
pid=$(field worker/two-workers-0 .status.pid)

dir=/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$pid/cgroup")
echo "$dir"
case $dir in "$cgroup_root"/weir.slice/weir-????????.slice/*two\\x2dworkers.slice/weir-????????-two-workers-0.scope/w) ;; *) fail "it lives in $dir" ;; esac
equal "$(cat "$dir/memory.max")" $((64 << 20)) memory.max
equal "$(cat "$dir/memory.oom.group")" 1 memory.oom.group
equal "$(cat "$dir/cpu.max")" "50000 100000" cpu.max
equal "$(cat "$dir/pids.max")" 20 pids.max
equal "$(cat "$dir/cgroup.procs")" "$pid" "who is with it"
scope=$(basename "$(dirname "$dir")")
equal "$(cat "/proc/$(cat "$dir/../ctl/cgroup.procs")/comm")" weir-shim "who is beside it"
equal "$("${systemctl[@]}" show -P ActiveState "$scope")" active "$scope"
"${systemctl[@]}" show -p OOMPolicy,Delegate,Slice,Description "$scope"
systemd-cgls --no-pager "$(dirname "$dir")"
equal "$(field pool/two-workers '.status.conditions[?(@.type=="LimitsEnforced")].status')" True LimitsEnforced

weir_killed
weir_up --on-exit leave
wait_for 30 is pool/two-workers .status.readyReplicas 2
equal "$(pids)" "$before" "the pids after a daemon's death"

"${systemctl[@]}" daemon-reload
"${systemctl[@]}" daemon-reexec
equal "$(cat "$dir/memory.max")" $((64 << 20)) "memory.max after a reload"
if [ "$(id -u)" = 0 ]; then systemctl restart dbus; else systemctl --user restart dbus || true; fi
# The connection is gone: the next start needs a new one.
ctl scale pool/two-workers --replicas 3
wait_for 30 is pool/two-workers .status.readyReplicas 3
equal "$(pids)" "$before" "the pids after systemd's restarts"

# A worker that is started again stays in its scope, in a fresh cgroup.
kill -KILL "$pid"
again() { local now; now=$(field worker/two-workers-0 .status.pid); [ -n "$now" ] && [ "$now" != "$pid" ] && is pool/two-workers .status.readyReplicas 3; }
wait_for 30 again
equal "$(cat "$dir/cgroup.procs")" "$(field worker/two-workers-0 .status.pid)" "who is in it now"
equal "$(cat "$dir/memory.max")" $((64 << 20)) "memory.max of the next one"

rm "$specs/two-workers.yaml"
none_left() { [ -z "$(find "$cgroup_root" -name '*two*workers*')" ]; }
ctl prune --help >/dev/null
wait_for 40 none_left
"${systemctl[@]}" list-units --all 'weir*' --no-legend | tee /dev/stderr | { ! grep two; }
