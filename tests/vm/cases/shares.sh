# as: root ann
# A pool follows how much its workers use of what they may: each of them half a core, which it uses whole; then next to nothing.
# seconds: 150
. /payload/lib.sh
cat >"$home/worker" <<'PY'
import os, sys, time
held = b'x' * (24 << 20)
while not os.path.exists(sys.argv[1]): pass
time.sleep(100000)
PY
pool() { # pool NAME SOURCE TARGET LIMITS
  cat <<YAML
---
apiVersion: weir.dev/v1
kind: WorkerPool
metadata: {name: $1}
spec:
  scale:
    minReplicas: 1
    maxReplicas: 2
    behavior: {scaleDown: {stabilizationWindow: 0s, idleTimeout: 0s}}
    triggers:
    - {$2: {}, pollingInterval: 4s, timeout: 4s, targetPerWorker: $3}
  template:
    command: [python3, $home/worker, $home/calm]
    terminationGracePeriod: 1s
    resources: {limits: {$4}}
YAML
}
{ pool busy cpu 50 "cpu: 500m"; pool full memory 30 "cpu: 100m, memory: 64Mi"; } >"$specs/pools.yaml"
signal() { field "pool/$1" ".status.scaling.signals[0].$2"; }
weir_up
for pool in busy full; do
  wait_for 60 is pool/$pool .status.desiredReplicas 2
  wait_for 60 is pool/$pool .status.readyReplicas 2
done
of() { signal "$1" raw | grep -q "$2"; }
wait_for 60 of busy "of 1 core, the limits of its 2 workers"
wait_for 60 of full "Mi of 128Mi, the limits of its 2 workers"
ctl explain pool/busy
touch "$home/calm"
wait_for 60 is pool/busy .status.desiredReplicas 1
equal "$(field pool/full .status.desiredReplicas)" 2 "the size of the pool whose memory is as full as before"
weir_down
