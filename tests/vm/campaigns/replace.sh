# as: root ann
# The installed service is restarted, killed, and started from another binary, again and again; none of eight workers notices.
# seconds: 3600
. /payload/lib.sh
times=${rounds:-20}
if [ "$(id -u)" = 0 ]; then flags=() config=/etc unit=/etc/systemd/system/weir.service bin=/usr/local/bin WEIR_STATE=/var/lib/weir; else
  flags=(--user) config=$HOME/.config unit=$HOME/.config/systemd/user/weir.service bin=$HOME/bin WEIR_STATE=$HOME/.local/state/weir
fi
removed() {
  local code=$?
  set +e
  trap - ERR
  [ $code = 0 ] || journalctl "${flags[@]}" --no-pager -q -n 60 -u weir
  ctl delete pool/eight && for _ in $(seq 100); do ctl get worker/eight-0 2>/dev/null || break; sleep 0.2; done
  "${systemctl[@]}" disable --now weir
  rm -f "$unit" "$bin"/{weir,ctl,weir-shim}
  "${systemctl[@]}" daemon-reload
  (exit $code)
  ended
}
trap removed EXIT

# The service runs whatever is at the path that it was installed from.
mkdir -p "$bin"
cp /payload/bin/{weir,ctl,weir-shim} "$bin/"
"$bin/weir" install "${flags[@]}" >/dev/null
has "ExecStart=.*$bin/weir" "$unit"
cat >"$config/weir/eight.yaml" <<'YAML'
apiVersion: weir.dev/v1
kind: WorkerPool
metadata: {name: eight}
spec:
  replicas: 8
  template: {command: [sleep, "100000"]}
YAML
"${systemctl[@]}" enable --now weir
show() { "${systemctl[@]}" show -P "$1" weir; }
wait_for 60 is pool/eight .status.readyReplicas 8
pids() { ctl get workers -l weir.dev/pool=eight -o 'jsonpath={.items[*].status.pid}'; }
before=$(pids) births=$(born $(pids))
equal "$(wc -w <<<"$before")" 8 "the number of pids"
replaced() {
  case $(show MainPID) in 0 | "$old") return 1 ;; esac
  [ "$(show ActiveState)" = active ] && [ "$(pids)" = "$before" ] && is pool/eight .status.readyReplicas 8
}

each() { # each NAME COMMAND…
  local began=$SECONDS n
  for n in $(seq "$times"); do
    old=$(show MainPID)
    "$2" "$n"
    wait_for 60 replaced
    equal "$(born $(pids))" "$births" "the workers after $1 $n"
  done
  echo "measured: $1: $times times in $((SECONDS - began)) s, 8 workers unchanged"
}
restart() { "${systemctl[@]}" restart weir; }
killed() { "${systemctl[@]}" kill -s KILL weir; }
swapped() {
  cp "$bin/weir" "$bin/weir.new"
  echo "$1" >>"$bin/weir.new"
  mv "$bin/weir.new" "$bin/weir"
  "${systemctl[@]}" restart weir
  cmp "/proc/$(show MainPID)/exe" "$bin/weir"
}
each restart restart
each SIGKILL killed
each "swapped binary" swapped
