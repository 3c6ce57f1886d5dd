# as: root ann
# A worker that takes more memory than it may is killed whole, and said to be OOMKilled; its shim lives.
# seconds: 150
. /payload/lib.sh
cat >"$specs/hungry.yaml" <<'YAML'
apiVersion: weir.dev/v1
kind: WorkerPool
metadata: {name: hungry}
spec:
  replicas: 1
  template:
    command: [python3, -c, "import os\nif os.fork() == 0:\n  b = b'x' * (200 << 20)\nimport time\ntime.sleep(10000)"]
    restartPolicy: Never
    resources: {limits: {memory: 48Mi}}
---
apiVersion: weir.dev/v1
kind: WorkerPool
metadata: {name: calm}
spec:
  replicas: 1
  template: {command: [sleep, "100000"]}
YAML
weir_up
wait_for 60 is worker/hungry-0 .status.lastExit.reason OOMKilled
wait_for 30 is pool/calm .status.readyReplicas 1
calm=$(field worker/calm-0 .status.pid)
# Its shim has told of it, and is there still.
scope=$(find "$cgroup_root" -name 'weir-*-hungry-0.scope')
equal "$(cat "/proc/$(cat "$scope/ctl/cgroup.procs")/comm")" weir-shim "who is left"
equal "$(cat "$scope/w/cgroup.procs")" "" "who is left of the worker"
equal "$(field worker/calm-0 .status.pid)" "$calm" "the calm worker"
weir_down
