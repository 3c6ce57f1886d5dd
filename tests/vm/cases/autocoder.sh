# as: ann
# examples/autocoder as its README says it, on a machine of another size: the service's limits follow its agents, what is recorded
# beside its use tells when it is idle, and its process is the same throughout.
# seconds: 120
. /payload/lib.sh
cp -r /payload/examples/autocoder/. "$home"
cd "$home"
sed -i 's/checkInterval: 30s/checkInterval: 1s/; s/cooldown: 5m/cooldown: 2s/; s/consecutiveChecks: 10/consecutiveChecks: 3/
  s/ 32Gi/ 160Mi/; s/ 192Gi/ 400Mi/; s/ 96Gi/ 200Mi/; s/ 8Gi/ 100Mi/; s/ 200%/ 60%/; s/ 100%/ 40%/; s/ 800%/ 90%/; s/ 600%/ 70%/; s/ 50%/ 10%/
  s/cpu: "1"/cpu: 100m/' specs/autocoder.yaml
service autocoder-ui < <(sed "s|%h/autocoder|$home|g" autocoder-ui.service)
show() { systemctl --user show -P "$1" autocoder-ui; }
pid=$(show MainPID)
memory() { [ "$(show MemoryMax)" = $(($1 << 20)) ]; }
said() { ctl policy history autocoder >history && has "$1" history; }
weir_up
wait_for 40 memory 160
said Initial

echo "135 25" >features/login
agents() { [ "$(field policy/autocoder .status.gauges.agents | cut -d. -f1)" = "$1" ]; }
wait_for 60 agents 1
wait_for 60 memory 260
said 'ScaleUp.*3 times in a row'
is policy/autocoder .status.idle false || fail "it is idle with an agent"
wait_for 120 test -e done/login
wait_for 60 is policy/autocoder .status.idle true
wait_for 60 said ScaleDown

ctl set manual policy/autocoder memory=200Mi "reason=model training"
wait_for 30 memory 200
said 'Manual.*model training'
ctl set mode policy/autocoder Enabled
equal "$(show MainPID)" "$pid" "the service's process"
weir_down
