# as: root ann
# Limits by drop-in and restart; a service that does not start with its new limits gets its old ones back and runs, and nothing
# more is tried until a person says so.
# seconds: 120
. /payload/lib.sh
# Refuses to start where it may have more than 100 tasks, until `good` is there.
cat >"$home/start" <<'SH'
[ -e "$(dirname "$0")/good" ] || [ "$(cat "/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/pids.max")" -le 100 ]
SH
service case-restart <<UNIT
[Service]
ExecStartPre=/bin/bash $home/start
ExecStart=/bin/sleep 100000
TasksMax=30
UNIT
show() { "${systemctl[@]}" show -P "$1" case-restart; }
first=$(show MainPID)

policy() { # policy TASKS
  cat >"$home/policy.yaml" <<YAML
apiVersion: weir.dev/v1
kind: ResourcePolicy
metadata: {name: again}
spec:
  target: {unit: {name: case-restart.service}}
  checkInterval: 1s
  mode: Manual
  apply: Restart
  bounds: {min: {tasks: 10}, max: {tasks: 1000}}
  manual: {tasks: $1}
YAML
  mv "$home/policy.yaml" "$specs/again.yaml"
}
holds() { [ "$(show TasksMax)" = "$1" ] && [ "$(show ActiveState)" = active ] && is policy/again .status.limits.tasks "$1"; }
failed() { is policy/again '.status.conditions[?(@.type=="Failed")].status' "$1"; }

policy 50
weir_up
wait_for 40 holds 50
[ "$(show MainPID)" != "$first" ] || fail "it was not started again"
show DropInPaths | grep 40-weir.conf
wait_for 20 failed False

policy 200
wait_for 60 failed True
wait_for 20 holds 50
field policy/again '.status.conditions[?(@.type=="Failed")].message'
ctl policy history again | grep Rollback
second=$(show MainPID)
touch "$home/good"
equal "$(show MainPID)" "$second" "the process while it has failed"

ctl policy reset again
wait_for 60 holds 200
wait_for 20 failed False
ctl policy history again
weir_down
