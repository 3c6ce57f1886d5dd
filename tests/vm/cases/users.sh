# as: root
# root's daemon runs tasks as another user, who reads the task from its file and standard input and leaves a result, and cannot
# read anything else of the daemon's.
# seconds: 60
. /payload/lib.sh
cat >"$home/work.py" <<'PY'
import json, os, sys
task = json.load(open(os.environ['WEIR_TASK_FILE']))
assert task == json.load(sys.stdin)
state = os.environ['WEIR_STATE']
listed = []
for path in (state, state + '/weir.db', os.path.dirname(os.environ['WEIR_TASK_FILE'])):
    try:
        listed.append(os.listdir(path) if os.path.isdir(path) else open(path).read())
    except OSError:
        pass
with open(os.environ['WEIR_RESULT_FILE'], 'w') as file:
    json.dump({'user': os.getuid(), 'n': task['payload']['n'], 'listed': listed}, file)
PY
chmod 755 "$home" && chmod 644 "$home/work.py"
cat >"$specs/hers.yaml" <<YAML
apiVersion: weir.dev/v1
kind: WorkerPool
metadata: {name: hers}
spec:
  replicas: 1
  template: {command: [python3, $home/work.py], user: ann, workingDir: /}
  queue: {}
YAML
weir_up
wait_for 40 is pool/hers .status.desiredReplicas 1
for n in 1 2; do
  equal "$(ctl submit hers --wait=60s -o 'jsonpath={.result}' -- "{\"n\": $n}")" "{\"user\":1000,\"n\":$n,\"listed\":[]}" "the result of task $n"
done
weir_down
equal "$(ls /run/weir/*/tasks | grep -c result || true)" 0 "results that nobody took"
rm -rf /run/weir
