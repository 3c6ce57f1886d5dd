# as: root
# Changes of limits that fail, 124 in all: systemd refuses them; what is read back is something else; for `apply: Restart`, the
# service does not start with them; the unit is gone in the middle of it; and the bus goes or hangs in the middle of the call. What
# held before holds again where there is still something to hold it, the history has the failure with its error, the policy has
# failed, and nothing more is done until somebody resets it. Without any bus nothing is begun, which is said, and made when there is one.
# seconds: 5400
. /payload/lib.sh
times=$((${rounds:-100} / 4))
losses=$(((times + 1) / 3)) # In each of three ways: they take minutes.
alone=$((times / 12 + 1))
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
  cp "$home/policy.yaml" "$home/last.yaml"
  mv "$home/policy.yaml" "$specs/again.yaml"
}
holds() { [ "$(cat "$dir/pids.max")" = "$1" ] && [ "$(show TasksMax)" = "$1" ]; }
changes() { ctl get policy/again -o "jsonpath={range .status.history[*]}$1{\"\\n\"}{end}"; } # changes FIELDS: of the last changes
failed() { is policy/again '.status.conditions[?(@.type=="Failed")].status' "$1"; }
rows() { ctl policy history again --limit 10000 | grep -cE "$1" || true; }
went=0

fails() { # fails TIMES WAY BEGIN END [APPLY]: BEGIN makes it fail, END no longer
  local n apply=${5:-Live} began=$SECONDS before times=$1 expected
  shift
  for n in $(seq "$times"); do
    policy 40 "$apply"
    settled() { holds 40 && failed False && is policy/again .status.limits.tasks 40; }
    wait_for 60 settled
    before=$(rows 'Failed|Rollback')
    # What BEGIN makes of it may be more than that.
    expected=("Manual Failed 40 $((200 + n))" "Rollback Applied $((200 + n)) 40")
    "$2"
    policy $((200 + n)) "$apply"
    wait_for 100 failed True
    "$3"
    kept() {
      holds 40 && [ "$(rows 'Failed|Rollback')" = $((before + ${#expected[@]})) ] &&
        [ "$(changes '{.action} {.status} {.old.tasks} {.new.tasks}' | tail -n ${#expected[@]})" = "$(printf '%s\n' "${expected[@]}")" ]
    }
    wait_for 60 kept
    ! changes '{.status} {.error}' | grep -q '^Failed $' || fail "the history has a failure without an error"
    [ -n "$(field policy/again '.status.conditions[?(@.type=="Failed")].message')" ] || fail "it does not say why"
    # Two looks and more: nothing is tried.
    if [ $((n % 5)) = 0 ]; then sleep 3; fi
    failed True && kept || fail "it was changed after it had failed"
    went=$((went + 1))
    # An edit lets it go on, as a reset does.
    policy 40 "$apply"
  done
  echo "measured: $1: $times of $times in $((SECONDS - began)) s"
}

bus_reload() { busctl call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus ReloadConfig; }
refuse() {
  cat >/etc/dbus-1/system.d/case.conf <<'XML'
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><policy context="mandatory">
<deny send_destination="org.freedesktop.systemd1" send_interface="org.freedesktop.systemd1.Manager" send_member="SetUnitProperties"/>
</policy></busconfig>
XML
  bus_reload
}
allow() { rm -f /etc/dbus-1/system.d/case.conf; bus_reload; }

meddler=""
# Whoever writes the new value is overwritten at once; what held before is left alone.
meddle() {
  rm -f "$home/meddles"
  # Before everybody else: who comes late meets a change that was read back already, which is another thing.
  nice -n -19 python3 - "$dir/pids.max" "$home/meddles" <<'PY' &
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
open(sys.argv[2], 'w').close()
while True:
    text = os.pread(fd, 20, 0).strip()
    if text not in (b'40', b'77'):
        os.pwrite(fd, b'77', 0)
PY
  meddler=$!
  wait_for 20 test -e "$home/meddles"
}
rest() { kill $meddler; wait $meddler 2>/dev/null || true; }
nothing() { :; }

# The bus is back when the change has failed and what held before is about to be put back, which is each tried for a minute; of five
# times once when that has failed, too.
between=""
in_between() {
  say pass
  python3 /payload/campaigns/bus.py "$home/bus" "$home/hit" "$dir/pids.max" &
  between=$!
  wait_for 20 test -e /run/dbus/real
}
not_in_between() {
  local code=$?
  set +e
  trap - ERR
  [ -z "$between" ] || { kill $between; mv /run/dbus/real /run/dbus/system_bus_socket; }
  (exit $code)
  ended
}
trap not_in_between EXIT
say() { echo "$1" >"$home/bus.new"; mv "$home/bus.new" "$home/bus"; } # say WORD: see bus.py
lose() { # lose WAY
  local after=(wait_for 100 failed True)
  if [ $((n % 5)) = 1 ]; then expected[1]="Rollback Failed $((200 + n)) 40"; else after=(sleep 75); fi
  rm -f "$home/hit"
  say "$1"
  { wait_for 60 test -e "$home/hit"; "${after[@]}"; say pass; } &
  returns=$!
}
cuts() { lose cut; }
hangs() { lose hang; }
# What was done and could not be put back is put back as soon as it is seen.
deafens() { lose deaf; if [ $((n % 5)) = 1 ]; then expected+=("Rollback Applied $((200 + n)) 40"); fi; }
is_back() { wait $returns || fail "the bus was never lost"; }

# It ends by itself as soon as it has another limit, and systemd forgets it: it is gone when the change is read back.
brief() { # brief NAME
  cat >"$home/brief.py" <<'PY'
import os
path = '/sys/fs/cgroup' + open('/proc/self/cgroup').read().strip()[3:] + '/pids.max'
fd = os.open(path, os.O_RDONLY)
first = os.pread(fd, 20, 0)
while os.pread(fd, 20, 0) == first:
    pass
PY
  systemd-run --quiet --collect --unit="case-$1" -p TasksMax=40 python3 "$home/brief.py"
}
vanishes() { # The same with a unit that is gone in the middle. Some of its changes are made before it is.
  local went_before=0 n=0 round=0 began=$SECONDS name
  policy 40 Live # Theirs are made of its text.
  rm "$specs/again.yaml"
  while [ $n -lt "$times" ]; do
    round=$((round + 1))
    # A unit and a policy of its own each time: the one before goes on for a while without its document, and would set this one.
    name=brief-$round
    brief "$name"
    sed "s/case-rollback/case-$name/; s/name: again/name: $name/; s/apply: .*/apply: Live/" "$home/last.yaml" >"$home/brief.yaml"
    sed "s/manual: .*/manual: {tasks: 40}/" "$home/brief.yaml" >"$specs/brief.yaml.new" && mv "$specs/brief.yaml.new" "$specs/brief.yaml"
    begun() { is "policy/$name" .status.limits.tasks 40 && is "policy/$name" '.status.conditions[?(@.type=="Failed")].status' False; }
    wait_for 100 begun
    sed "s/manual: .*/manual: {tasks: $((200 + round))}/" "$home/brief.yaml" >"$specs/brief.yaml.new" && mv "$specs/brief.yaml.new" "$specs/brief.yaml"
    over() { ! systemctl is-active --quiet "case-$name" && ctl policy history "$name" --limit 1 | grep -qE "$((200 + round))|Rollback"; }
    wait_for 60 over
    if is "policy/$name" '.status.conditions[?(@.type=="Failed")].status' True; then
      n=$((n + 1))
      [[ $(field "policy/$name" '.status.conditions[?(@.type=="Failed")].message') = *"not found"* ]] || fail "it does not say why"
      sleep 2.5
      equal "$(ctl policy history "$name" --limit 10000 | grep -c Rollback)" 1 "rows of the history after it was gone"
    else
      went_before=$((went_before + 1))
      [ $went_before -le $((5 * times)) ] || fail "the unit is never gone in the middle"
    fi
  done
  ctl policy history "$name" --limit 4
  rm "$specs/brief.yaml"
  went=$((went + n))
  echo "measured: gone in the middle: $n of $n in $((SECONDS - began)) s ($went_before were made before it was gone)"
}

without_bus() { # without_bus TIMES: nothing is begun, it says so, and it is made when there is a bus again.
  local n began=$SECONDS before times=$1
  under_way() { is policy/again '.status.conditions[?(@.type=="Applied")].reason' Pending; }
  generation() { field policy/again .status.observedGeneration; }
  for n in $(seq "$times"); do
    policy 40 Live
    settled() { holds 40 && is policy/again .status.limits.tasks 40 && ! under_way; }
    wait_for 60 settled
    systemctl stop dbus.socket dbus.service
    # A look that was answered before may begin a change yet. Whoever is silent is asked again for a minute.
    said() { [[ $(field policy/again '.status.conditions[?(@.type=="TargetFound")].message') = *"no connection to systemd"* ]]; }
    wait_for 100 said
    before=$(generation)
    policy $((300 + n)) Live
    edited() { [ "$(generation)" != "$before" ]; }
    wait_for 60 edited
    sleep 3
    said && ! under_way || fail "a change was begun without a bus"
    equal "$(cat "$dir/pids.max")" 40 "the limit without a bus"
    systemctl start dbus.socket dbus.service
    made() { holds $((300 + n)) && is policy/again .status.limits.tasks $((300 + n)); }
    wait_for 60 made
    is policy/again '.status.conditions[?(@.type=="Failed")].status' False || fail "what was never begun has failed"
  done
  echo "measured: no bus: $times of $times changes waited and were made in $((SECONDS - began)) s"
}

part() { [ -z "$parts" ] || [[ " $parts " = *" $1 "* ]]; }
weir_up
if part refused; then fails "$times" "a refusal" refuse allow; fi
if part differs; then fails "$times" "read back, it differs" meddle rest; fi
if part start; then fails "$times" "it does not start" nothing nothing Restart; fi
if part vanishes; then vanishes; fi
if part alone; then without_bus "$alone"; fi
# Whoever is connected already has nobody in between.
weir_down
in_between
weir_up
if part cut; then fails "$losses" "the bus goes before the call" cuts is_back; fi
if part deaf; then fails "$losses" "the bus goes before the answer" deafens is_back; fi
if part hang; then fails "$losses" "the bus hangs" hangs is_back; fi
echo "measured: $went failures, each in the history with what was put back"
weir_down
