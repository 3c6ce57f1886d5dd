# as: root ann
# `weir install`, then what it says next: the unit comes up when the daemon says so, and neither a restart, a death, a reload
# nor a stop of it touches one of eight workers. Installed twice nothing changes, and what was changed by hand is kept.
# seconds: 120
. /payload/lib.sh
if [ "$(id -u)" = 0 ]; then flags=() config=/etc unit=/etc/systemd/system/weir.service share=/usr/local/share WEIR_STATE=/var/lib/weir; else
  flags=(--user) config=$HOME/.config unit=$HOME/.config/systemd/user/weir.service share=$HOME/.local/share WEIR_STATE=$HOME/.local/state/weir
fi
journal() { journalctl "${flags[@]}" --no-pager -q -n 40 -u weir; }
removed() {
  local code=$?
  set +e
  trap - ERR
  [ $code = 0 ] || journal
  ctl delete pool/eight && for _ in $(seq 100); do ctl get worker/eight-0 2>/dev/null || break; sleep 0.2; done
  "${systemctl[@]}" disable --now weir
  rm -f "$unit"
  "${systemctl[@]}" daemon-reload
  (exit $code)
  ended
}
trap removed EXIT

weir install "${flags[@]}" --dry-run | tee "$home/dry"
[ ! -e "$unit" ] || fail "a dry run wrote"
has "would write.*$unit" "$home/dry"
weir install "${flags[@]}" | tee "$home/said"
has "^wrote.*$unit" "$home/said"
systemd-analyze "${flags[@]}" verify --man=no "$unit"
for shell in bash-completion/completions/ctl zsh/site-functions/_weir fish/vendor_completions.d/ctl.fish man/man1/ctl-get.1; do
  [ -s "$share/$shell" ] || fail "no $shell"
done
bash -c ". '$share/bash-completion/completions/ctl' && complete -p ctl"

cat >"$config/weir/eight.yaml" <<'YAML'
apiVersion: weir.dev/v1
kind: WorkerPool
metadata: {name: eight}
spec:
  replicas: 8
  template: {command: [sleep, "100000"]}
YAML
# The line as it was printed.
eval "$(sed -n 's/^  \(systemctl.* enable --now weir\) .*/\1/p' "$home/said")"
show() { "${systemctl[@]}" show -P "$1" weir; }
equal "$(show ActiveState) $(show NotifyAccess) $(show WatchdogUSec)" "active main 1min" "the service"
listens() { python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])' "$WEIR_STATE/weir.sock"; }
# It is active no sooner than it answers.
listens || fail "it is active and does not answer"
wait_for 60 is pool/eight .status.readyReplicas 8
pids() { ctl get workers -l weir.dev/pool=eight -o 'jsonpath={.items[*].status.pid}'; }
before=$(pids)
equal "$(wc -w <<<"$before")" 8 "the number of pids"
all_live() { for pid in $before; do kill -0 "$pid" || return 1; done; }
same() { listens && is pool/eight .status.readyReplicas 8 && [ "$(pids)" = "$before" ]; }

daemon_pid=$(show MainPID)
"${systemctl[@]}" restart weir
[ "$(show MainPID)" != "$daemon_pid" ] || fail "it was not started again"
wait_for 40 same

daemon_pid=$(show MainPID)
"${systemctl[@]}" kill -s KILL weir
again() { [ "$(show ActiveState)" = active ] && [ "$(show MainPID)" != "$daemon_pid" ] && same; }
wait_for 40 again
equal "$(show NRestarts)" 1 "restarts by systemd"

daemon_pid=$(show MainPID)
sed -i 's/replicas: 8/replicas: 9/' "$config/weir/eight.yaml"
"${systemctl[@]}" reload weir
# Before systemd 253 a reload ends with the signal; that the specs are read again may be said, and be over, just after it.
reloaded() { [ "$(show ActiveState) $(show MainPID)" = "active $daemon_pid" ]; }
wait_for 40 is pool/eight .status.readyReplicas 9
wait_for 20 reloaded
sed -i 's/replicas: 9/replicas: 8/' "$config/weir/eight.yaml"
wait_for 40 same

"${systemctl[@]}" stop weir
all_live || fail "a stop of the service has ended a worker"
"${systemctl[@]}" start weir
wait_for 40 same

weir install "${flags[@]}" | tee "$home/twice"
if has '^wrote' "$home/twice"; then fail "it wrote again"; fi
echo "# mine" >>"$unit"
if weir install "${flags[@]}" 2>"$home/kept"; then fail "a changed file was passed over in silence"; fi
has "$unit: kept" "$home/kept"
tail -n 1 "$unit" | grep -qx '# mine' || fail "a changed file was replaced"
weir install "${flags[@]}" --force >/dev/null
if has '^# mine' "$unit"; then fail "--force replaced nothing"; fi
