# as: root
# Workers that cannot die, blocked in a write to a file system that is frozen: they are Stuck, their names and tasks stay theirs,
# nobody else is slowed, and when it thaws they are gone, and the tasks that wait have their places.
# seconds: 1200
. /payload/lib.sh
times=${rounds:-5} workers=10
truncate -s 64M "$home/disk.img"
mkfs.ext4 -q "$home/disk.img"
mkdir "$home/disk"
mount -o loop "$home/disk.img" "$home/disk"
thawed() {
  local code=$?
  set +e
  trap - ERR
  if [ $code != 0 ]; then
    echo "--- before the thaw"
    ctl get workers -l weir.dev/pool=cold -o yaml | grep -E 'name:|phase|pid|message|stop'
    pids | while read -r _ pid; do
      echo "$(cut -d' ' -f1-4 "/proc/$pid/stat") $(cat "/proc/$pid/wchan") $(grep -E 'SigPnd|ShdPnd|SigCgt|SigIgn' "/proc/$pid/status" | tr '\n\t' '  ')"
    done
    ctl get events 2>&1 | tail -n 5
  fi
  fsfreeze -u "$home/disk" 2>/dev/null
  (exit $code)
  ended
  umount "$home/disk" && rm -rf "$home"
}
trap thawed EXIT
cat >"$home/write.py" <<'PY'
import os, sys, time
os.chdir(sys.argv[1])
task = os.environ['WEIR_TASK_ID']
while not os.path.exists('enough'):
    with open('disk/' + task, 'a') as file:
        file.write('x')
    time.sleep(0.1)
PY
cat >"$specs/cold.yaml" <<YAML
apiVersion: weir.dev/v1
kind: WorkerPool
metadata: {name: cold}
spec:
  replicas: $workers
  template:
    command: [python3, $home/write.py, $home]
    terminationGracePeriod: 1s
  queue: {retry: {backoff: {initial: 100ms, max: 100ms}}}
---
apiVersion: weir.dev/v1
kind: WorkerPool
metadata: {name: calm}
spec:
  replicas: 1
  template: {command: ["true"]}
  queue: {}
YAML
weir_up
tasks() { ctl get tasks --pool cold --status "$1" -o 'jsonpath={range .items[*]}{.id} {.worker}{"\n"}{end}' | sort -n; }
count() { [ "$(tasks "$1" | grep -c .)" = "$2" ]; }
pids() { ctl get workers -l weir.dev/pool=cold -o 'jsonpath={range .items[*]}{.metadata.name} {.status.pid}{"\n"}{end}' | sort; }
blocked() { [ "$(pids | while read -r _ pid; do cut -d' ' -f3 "/proc/$pid/stat"; done | grep -c D)" = "$workers" ]; }
stuck() { [ "$(ctl get workers -l weir.dev/pool=cold -o 'jsonpath={.items[*].status.phase}' | tr ' ' '\n' | grep -c Stuck)" = "$workers" ]; }
calm() { # calm: how long a task of another pool takes, in ms, said by its submitter
  local before
  before=$(micros)
  ctl submit calm --wait=60s -- 1 >/dev/null || fail "a task of another pool did not succeed"
  echo $((($(micros) - before) / 1000))
}
wait_for 30 is pool/calm .status.readyReplicas 1
calm >/dev/null
for n in $(seq "$times"); do
  rm -f "$home/enough"
  ctl submit cold --count "$workers" -- 1 >/dev/null
  wait_for 60 count Leased "$workers"
  # These wait for a worker.
  ctl submit cold --count "$workers" -- 2 >/dev/null
  quiet=$(calm)
  fsfreeze -f "$home/disk"
  wait_for 20 blocked
  holders=$(tasks Leased) before=$(pids)
  # Whoever takes a task back has its worker stopped.
  ctl cancel $(cut -d' ' -f1 <<<"$holders") >/dev/null
  wait_for 30 stuck
  busy=$(calm)
  equal "$(field pool/cold .status.stuckReplicas)" "$workers" "stuck workers"
  # Nobody gets their names, their places or their tasks, though others wait.
  sleep 3
  equal "$(pids)" "$before" "who is stuck"
  equal "$(tasks Leased)" "$holders" "whose tasks they are"
  count Queued "$workers" || fail "somebody has taken a task that waits"
  stuck || fail "a frozen worker is no longer Stuck"
  ctl get workers
  began=$(micros)
  fsfreeze -u "$home/disk"
  none_live() { for pid in $(cut -d' ' -f2 <<<"$before"); do [ ! -e "/proc/$pid" ] || return 1; done; }
  wait_for 20 none_live
  gone=$((($(micros) - began) / 1000))
  touch "$home/enough"
  wait_for 60 count Cancelled $((n * workers))
  wait_for 60 count Succeeded $((n * workers))
  equal "$(ctl get workers -l weir.dev/pool=cold -o 'jsonpath={.items[*].status.phase}' | grep -c Stuck || true)" 0 "stuck workers after the thaw"
  echo "measured: $workers in D state: Stuck, gone $gone ms after the thaw; a task of another pool took $quiet ms before, $busy ms meanwhile"
done
weir_down
