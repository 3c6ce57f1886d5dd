# as: root
# Changes of limits that fail, 99 in all, a third each in another way: systemd refuses them; what is read back is something else;
# and, for `apply: Restart`, the service does not start with them. What held before holds again, the history has the failure with
# its error, the policy has failed, and nothing more is done until somebody resets it.
# seconds: 3600
. /payload/lib.sh
times=$((${rounds:-100} / 3))
cat >"$home/start" <<'SH2'
[ "$(cat "/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/pids.max")" -le 100 ]
SH2
service case-rollback <<UNIT
[Service]
ExecStartPre=/bin/bash $home/start
ExecStart=/bin/sleep 100000
TasksMax=30
UNIT
show() { "${systemctl[@]}" show -P "$1" case-rollback; }
dir=/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$(show MainPID)/cgroup")
policy() { # policy TASKS APPLY
  cat >"$home/policy.yaml" <<YAML
apiVersion: weir.dev/v1
kind: ResourcePolicy
metadata: {name: again}
spec:
  target: {unit: {name: case-rollback.service}}
  checkInterval: 1s
  mode: Manual
  apply: $2
  persist: false
  bounds: {min: {tasks: 10}, max: {tasks: 1000}}
  manual: {tasks: $1}
YAML
  mv "$home/policy.yaml" "$specs/again.yaml"
}
holds() { [ "$(cat "$dir/pids.max")" = "$1" ] && [ "$(show TasksMax)" = "$1" ]; }
failed() { is policy/again '.status.conditions[?(@.type=="Failed")].status' "$1"; }
rows() { ctl policy history again --limit 10000 | grep -c "$1" || true; }
went=0

fails() { # fails WAY BEGIN END [APPLY]: BEGIN makes it fail, END no longer
  local n apply=${4:-Live} began=$SECONDS before
  for n in $(seq "$times"); do
    policy 40 "$apply"
    settled() { holds 40 && failed False && is policy/again .status.limits.tasks 40; }
    wait_for 60 settled
    before=$(rows Rollback)
    "$2"
    policy $((200 + n)) "$apply"
    wait_for 60 failed True
    "$3"
    restored() { holds 40; }
    wait_for 60 restored
    equal "$(rows Rollback)" $((before + 1)) "rows of the history after $1 $n"
    ctl policy history again --limit 2 | grep -q "Failed" || fail "the history has no failure"
    [ -n "$(field policy/again '.status.conditions[?(@.type=="Failed")].message')" ] || fail "it does not say why"
    # Two looks and more: nothing is tried.
    if [ $((n % 5)) = 0 ]; then sleep 3; fi
    equal "$(rows Rollback)" $((before + 1)) "rows of the history a moment after $1 $n"
    holds 40 || fail "it was changed after it had failed"
    went=$((went + 1))
    policy 40 "$apply"
    ctl policy reset again >/dev/null
  done
  echo "measured: $1: $times of $times in $((SECONDS - began)) s"
}

bus_reload() { busctl call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus ReloadConfig; }
refuse() {
  cat >/etc/dbus-1/system.d/case.conf <<'XML'
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><policy context="mandatory">
<deny send_destination="org.freedesktop.systemd1" send_member="SetUnitProperties"/>
</policy></busconfig>
XML
  bus_reload
}
allow() { rm -f /etc/dbus-1/system.d/case.conf; bus_reload; }

meddler=""
# Whoever writes the new value is overwritten at once; what held before is left alone.
meddle() {
  python3 - "$dir/pids.max" <<'PY' &
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
while True:
    text = os.pread(fd, 20, 0).strip()
    if text not in (b'40', b'77'):
        os.pwrite(fd, b'77', 0)
PY
  meddler=$!
}
rest() { kill $meddler; wait $meddler 2>/dev/null || true; }
nothing() { :; }

weir_up
fails "a refusal" refuse allow
fails "read back, it differs" meddle rest
fails "it does not start" nothing nothing Restart
echo "measured: $went failures, as many rolled back and kept in the history"
weir_down
