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

policy() { # policy TASKS APPLY
  cat >"$home/policy.yaml" <<YAML
apiVersion: weir.dev/v1
kind: ResourcePolicy
metadata: {name: again}
spec:
  target: {unit: {name: case-restart.service}}
  checkInterval: 1s
  mode: Manual
  apply: $2
  bounds: {min: {tasks: 10}, max: {tasks: 1000}}
  manual: {tasks: $1}
YAML
  mv "$home/policy.yaml" "$specs/again.yaml"
}
holds() { [ "$(show TasksMax)" = "$1" ] && [ "$(show ActiveState)" = active ] && is policy/again .status.limits.tasks "$1"; }
failed() { is policy/again '.status.conditions[?(@.type=="Failed")].status' "$1"; }

# What was set before, while it ran, is no obstacle.
policy 40 Live
weir_up
wait_for 40 holds 40
equal "$(show MainPID)" "$first" "the process after a live change"
policy 50 Restart
wait_for 40 holds 50
[ "$(show MainPID)" != "$first" ] || fail "it was not started again"
show DropInPaths | grep 60-weir.conf
wait_for 20 failed False

policy 200 Restart
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

# And the drop-in is none for what is set while it runs.
third=$(show MainPID)
policy 60 Live
wait_for 40 holds 60
"${systemctl[@]}" daemon-reload
holds 60 || fail "a reload has brought back the drop-in"
equal "$(show MainPID)" "$third" "the process after a live change"
ctl policy history again
weir_down
