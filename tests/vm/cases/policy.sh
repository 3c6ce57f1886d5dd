# as: root ann
# A service that runs is given more when it needs more, three looks in a row, and less when it is calm and idle; a person may
# hold other limits, and who writes them by hand is corrected. All of it stands in systemd and in the kernel, and its process
# is the same throughout.
# seconds: 150
. /payload/lib.sh
mkdir "$home/jobs"
touch "$home/jobs/one"
# Its processes first: what it forks while it is big costs page tables.
cat >"$home/stress.py" <<'PY'
import os, signal, sys, time
os.chdir(sys.argv[1])
while True:
    if os.path.exists('busy'):
        children = []
        for _ in range(9):
            child = os.fork()
            if child == 0:
                signal.pause()
            children.append(child)
        block = b'x' * (84 << 20)
        open('ready', 'w').close()
        while os.path.exists('busy'):
            for _ in range(100000): pass
        del block
        for child in children:
            os.kill(child, signal.SIGTERM)
            os.waitpid(child, 0)
        os.unlink('ready')
    time.sleep(0.2)
PY
service case-stress <<UNIT
[Service]
ExecStart=/usr/bin/python3 $home/stress.py $home
TasksMax=12
UNIT
show() { "${systemctl[@]}" show -P "$1" case-stress; }
pid=$(show MainPID)
dir=/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$pid/cgroup")

holds() { # holds CPU-PERCENT MEMORY-MI TASKS: in the kernel, which costs the least to look at, in systemd and in the policy
  local high=$(($2 * 1048576 / 100 * 90 / 4096 * 4096))
  [ "$(cat "$dir"/{cpu,memory,pids}.max "$dir/memory.high")" = "$(printf '%s\n' "$(($1 * 1000)) 100000" $(($2 << 20)) "$3" $high)" ] &&
    [ "$(show CPUQuotaPerSecUSec,MemoryHigh,MemoryMax,TasksMax | sort)" = "$(printf '%s\n' $(($2 << 20)) "$3" $high "$(($1 * 10))ms" | sort)" ] &&
    [ "$(ctl get policy/stress -o 'jsonpath={.status.limits.memory} {.status.limits.tasks}')" = "$2Mi $3" ]
}
said() { ctl policy history stress >"$home/history" && has "$1" "$home/history"; }
condition() { is policy/stress ".status.conditions[?(@.type==\"$1\")].reason" "$2"; }
at_least() { [ "$(field policy/stress ".status.usage.$1" | cut -d. -f1)" -ge "$2" ]; }

cat >"$specs/stress.yaml" <<YAML
apiVersion: weir.dev/v1
kind: ResourcePolicy
metadata: {name: stress}
spec:
  target: {unit: {name: case-stress.service}}
  checkInterval: 1s
  cooldown: 2s
  scaleUp: {cpu: 50, memory: 70, tasks: 80}
  scaleDown: {consecutiveChecks: 3}
  gauges: [{name: jobs, source: {files: {glob: "$home/jobs/*"}}}]
  idleWhen: [{gauge: jobs, atMost: 0}]
  initial: {cpu: 40%, memory: 120Mi}
  bounds:
    min: {cpu: 36%, memory: 120Mi, tasks: 12}
    max: {cpu: 60%, memory: 300Mi, tasks: 100}
  manual: {memory: 200Mi, tasks: 20, reason: a person holds it}
YAML
weir_up
wait_for 40 holds 40 120 12
said Initial

# How long it takes to get busy is no part of this: until it is, the policy only looks.
ctl set mode policy/stress Disabled
touch "$home/busy"
wait_for 60 test -e "$home/ready"
busy() { at_least memoryPercent 70 && at_least tasksPercent 80 && at_least cpuPercent 50; }
wait_for 30 busy
ctl set mode policy/stress Enabled
wait_for 40 holds 60 180 18
said 'ScaleUp.*3 times in a row'
# More CPU is wanted still, and the bounds end here.
wait_for 40 condition ScalingLimited AtBound

ctl set mode policy/stress Manual
wait_for 30 holds 60 200 20
said 'Manual.*a person holds it'

"${systemctl[@]}" set-property --runtime case-stress.service MemoryMax=150M TasksMax=77
corrected() { said Correct && holds 60 200 20; }
wait_for 30 corrected

# Calm is not idle.
ctl set mode policy/stress Enabled
rm "$home/busy"
calm() { [ ! -e "$home/ready" ] && at_least tasksPercent 0 && ! at_least tasksPercent 10 && is policy/stress .status.mode Enabled; }
wait_for 60 calm
equal "$(field policy/stress .status.idle)" false "idle with a job"
equal "$(field policy/stress .status.checks.down)" 0 "looks that ask for less"
holds 60 200 20 || fail "it was lowered although it has a job"
rm "$home/jobs/one"
wait_for 60 holds 36 120 12
said ScaleDown

ctl policy history stress
equal "$(show MainPID)" "$pid" "the service's process"
rm "$specs/stress.yaml"
gone() { ! ctl get policy/stress; }
wait_for 30 gone
equal "$(show MainPID)" "$pid" "the service's process"
equal "$(cat "$dir/memory.max")" $((120 << 20)) "memory.max without its policy"
weir_down
