# as: root ann
# A worker that wants more memory than its pool may ever have is killed for it 20 times: each of its ends is OOMKilled, it is
# started again after a back-off, and the pool's policy gives it more at most one step a look, until the bounds end and it says so.
# seconds: 900
. /payload/lib.sh
times=${rounds:-20}
# All of it in one call: what a program touches by itself is slowed at MemoryHigh, and hardly gets as far as to be killed.
cat >"$specs/hungry.yaml" <<'YAML'
apiVersion: weir.dev/v1
kind: WorkerPool
metadata: {name: hungry}
spec:
  replicas: 1
  template:
    backoff: {initial: 500ms, max: 2s}
    command: [python3, -c, "import os, time\ntime.sleep(0.2)\nos.posix_fallocate(os.memfd_create('much'), 0, 300 << 20)\ntime.sleep(10000)"]
---
apiVersion: weir.dev/v1
kind: WorkerPool
metadata: {name: calm}
spec:
  replicas: 1
  template: {command: [sleep, "100000"]}
---
apiVersion: weir.dev/v1
kind: ResourcePolicy
metadata: {name: feed}
spec:
  target: {pool: hungry}
  checkInterval: 1s
  cooldown: 1s
  minStep: {memory: 8Mi}
  initial: {memory: 40Mi}
  bounds: {min: {memory: 40Mi}, max: {memory: 130Mi}}
YAML
weir_up
wait_for 40 is pool/calm .status.readyReplicas 1
calm=$(field worker/calm-0 .status.pid)
ended_by() { # ended_by: how often, by reason
  python3 - "$state/weir.sock" <<'PY'
import re, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(b'GET /metrics HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\r\n')
text = s.makefile().read()
for reason, n in re.findall(r'weir_worker_exits_total\{pool="hungry",reason="(\w+)"\} (\d+)', text):
    if n != '0':
        print(reason, n)
PY
}
enough() { local n; n=$(ended_by | sed -n 's/^OOMKilled //p'); [ "${n:-0}" -ge "$times" ]; }
waits() { is worker/hungry-0 .status.phase BackOff; }
condition() { is policy/feed '.status.conditions[?(@.type=="ScalingLimited")].reason' "$1"; }
wait_for 60 waits
wait_for 60 is worker/hungry-0 .status.lastExit.reason OOMKilled
wait_for 600 enough
equal "$(ended_by | cut -d' ' -f1)" OOMKilled "the reasons of its ends"
wait_for 60 condition AtBound
scope=$(find "$cgroup_root" -name 'weir-*-hungry-0.scope')
equal "$(cat "/proc/$(cat "$scope/ctl/cgroup.procs")/comm")" weir-shim "who outlives it"
equal "$(cat "$(dirname "$scope")/memory.max")" $((130 << 20)) "memory.max of its pool"
equal "$(field worker/calm-0 .status.pid)" "$calm" "the calm worker"
steps=$(ctl get policy/feed -o 'jsonpath={range .status.history[*]}{.action} {.old.memory} {.new.memory}{"\n"}{end}' | grep ^ScaleUp)
equal "$steps" "$(printf '%s\n' "ScaleUp 40Mi 60Mi" "ScaleUp 60Mi 90Mi" "ScaleUp 90Mi 130Mi")" "the steps"
at=$(ctl get policy/feed -o 'jsonpath={range .status.history[?(@.action=="ScaleUp")]}{.time}{"\n"}{end}')
equal "$(sort -u <<<"$at" | wc -l)" 3 "the moments of three steps"
ctl policy history feed
echo "measured: $(ended_by) of all ends, 3 steps (40Mi 60Mi 90Mi 130Mi), then AtBound; the shim and another worker unchanged"
weir_down
