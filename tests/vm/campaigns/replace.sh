# as: root ann
# The installed service is restarted, killed, and started from another binary, again and again; none of eight workers notices.
# seconds: 3600
. /payload/lib.sh
times=${rounds:-20}
if [ "$(id -u)" = 0 ]; then flags=() config=/etc unit=/etc/systemd/system/weir.service WEIR_STATE=/var/lib/weir; else
  flags=(--user) config=$HOME/.config unit=$HOME/.config/systemd/user/weir.service WEIR_STATE=$HOME/.local/state/weir
fi
removed() {
  local code=$?
  set +e
  [ $code = 0 ] || journalctl "${flags[@]}" --no-pager -q -n 60 -u weir
  ctl delete pool/eight && for _ in $(seq 100); do ctl get worker/eight-0 2>/dev/null || break; sleep 0.2; done
  "${systemctl[@]}" disable --now weir
  rm -f "$unit"
  "${systemctl[@]}" daemon-reload
  (exit $code)
  ended
}
trap removed EXIT

# Two binaries that are not the same file, nor the same bytes: the service runs whichever is at the path it was installed from.
mkdir "$home/bin"
cp /payload/bin/{weir,ctl,weir-shim} "$home/bin/"
"$home/bin/weir" install "${flags[@]}" >/dev/null
has "ExecStart=.*$home/bin/weir" "$unit"
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
born() { for p in "$@"; do echo "$p $(cut -d' ' -f22 "/proc/$p/stat")"; done; }
before=$(pids) births=$(born $(pids))
equal "$(wc -w <<<"$before")" 8 "the number of pids"
replaced() { [ "$(show ActiveState)" = active ] && [ "$(show MainPID)" != "$old" ] && [ "$(show MainPID)" != 0 ] && [ "$(pids)" = "$before" ] && is pool/eight .status.readyReplicas 8; }

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
  cp "$home/bin/weir" "$home/bin/weir.new"
  echo "$1" >>"$home/bin/weir.new"
  mv "$home/bin/weir.new" "$home/bin/weir"
  "${systemctl[@]}" restart weir
  cmp "/proc/$(show MainPID)/exe" "$home/bin/weir"
}
each restart restart
each SIGKILL killed
each "swapped binary" swapped
