# as: root
# Without the help of systemd: in a leaf of a delegated subtree the driver finds controllers beside the leaf, and holds limits.
# In a cgroup of its own without delegation it kills and counts, and says what it does not hold.
# seconds: 90
. /payload/lib.sh
cat >"$specs/plain.yaml" <<'YAML'
apiVersion: weir.dev/v1
kind: WorkerPool
metadata: {name: plain}
spec:
  replicas: 1
  template:
    command: [sleep, "100000"]
    resources: {limits: {memory: 64Mi, tasks: 20}}
YAML
enforced() { is pool/plain '.status.conditions[?(@.type=="LimitsEnforced")].status' "$1"; }
cat >"$home/leaf" <<'SH'
dir=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)
mkdir "$dir/leaf" && echo $$ >"$dir/leaf/cgroup.procs" && exec "$@"
SH
systemd-run --quiet --unit=case-cgroupfs -p Delegate=yes -p StandardOutput="append:$home/weir.log" --setenv=PATH="$PATH" \
  sh "$home/leaf" weir run --specs "$specs" --state "$state" --cgroup-driver cgroupfs
wait_for 40 listens
wait_for 30 is pool/plain .status.readyReplicas 1
wait_for 10 enforced True
dir=/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$(field worker/plain-0 .status.pid)/cgroup")
case $dir in */case-cgroupfs.service/weir-????????/plain/plain-0) ;; *) fail "it lives in $dir" ;; esac
equal "$(cat "$dir/memory.max")" $((64 << 20)) memory.max
equal "$(cat "$dir/pids.max")" 20 pids.max
systemctl stop case-cgroupfs

state=$home/other
export WEIR_STATE=$state
weir_up --cgroup-driver none
wait_for 30 is pool/plain .status.readyReplicas 1
wait_for 10 enforced False
field pool/plain '.status.conditions[?(@.type=="LimitsEnforced")].message'
weir_down
