# What the cases share: a daemon of this case's own, waiting for a condition, and ways to say that something is not so.
#
# Every case has its own directory, removed at its end with the daemon and its workers.
set -Eeuo pipefail
home=$(mktemp -d /var/tmp/case-XXXXXX)
specs=$home/specs state=$home/state
mkdir "$specs"
export WEIR_STATE=$state
if [ "$(id -u)" = 0 ]; then systemctl=(systemctl) cgroup_root=/sys/fs/cgroup units=/run/systemd/system; else
  systemctl=(systemctl --user) cgroup_root=/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service
  units=$XDG_RUNTIME_DIR/systemd/user
fi
daemon="" service=""
# So many times the seconds of a quiet machine are waited before something counts as not happening. Only failures wait.
patience=$(cat /payload/patience)
# How often a campaign does its thing; none: as often as it says itself.
rounds=$(cat /payload/rounds)
# Which parts of a campaign that has some are run; none: all.
parts=$(cat /payload/parts)

trap 'echo "FAILED: line $LINENO: $BASH_COMMAND" >&2' ERR
fail() { echo "FAILED: $*"; exit 1; }

ended() {
  local code=$?
  set +e
  trap - ERR
  if [ $code != 0 ]; then
    echo "--- the daemon said"; tail -n 40 "$home/weir.log"
    echo "--- pools"; ctl get pools -o yaml 2>&1 | tail -n 80; ctl get workers 2>&1
    "${systemctl[@]}" --no-pager list-units 'weir*' 2>&1
  fi
  # The workers end with their daemon, whatever the case did to it before.
  if [ -n "$daemon" ] && kill -TERM "$daemon" 2>/dev/null; then wait "$daemon"; fi
  if [ -n "$service" ]; then
    "${systemctl[@]}" stop "$service"
    rm "$units/$service.service"
    # What was set on it, too.
    "${systemctl[@]}" revert "$service"
  fi
  rm -rf "$home"
}
trap ended EXIT

service() { # service NAME <FILE: this case's service, which runs from now on
  service=$1
  mkdir -p "$units"
  cat >"$units/$1.service"
  "${systemctl[@]}" daemon-reload
  "${systemctl[@]}" start "$1"
}

weir_up() { # weir_up [FLAG…]: start the daemon and wait until it answers
  weir run --specs "$specs" --state "$state" "$@" >>"$home/weir.log" 2>&1 &
  daemon=$!
  # Before it listens, ctl answers from what an earlier daemon left in files.
  wait_for 40 listens
}

listens() { python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])' "$state/weir.sock"; }

weir_down() { kill -TERM "$daemon"; wait "$daemon" || true; daemon=""; }

weir_killed() { kill -KILL "$daemon"; wait "$daemon" || true; daemon=""; }

wait_for() { # wait_for SECONDS COMMAND…: until it succeeds. The seconds are those of a quiet machine; a busy one has more
  local until=$((SECONDS + $1 * patience))
  shift
  while ! "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $until ] || fail "waited in vain for: $*"
    [ -z "$daemon" ] || kill -0 "$daemon" 2>/dev/null || fail "the daemon is gone, waiting for: $*"
    sleep 0.3
  done
}

micros() { echo "$EPOCHREALTIME" | tr -d .; } # the clock, in microseconds
born() { for p in "$@"; do echo "$p $(cut -d' ' -f22 "/proc/$p/stat")"; done; } # born PID…: each with when it was started
equal() { [ "$1" = "$2" ] || fail "$3: is $1, not $2"; }

field() { ctl get "$1" -o "jsonpath={$2}"; } # field KIND/NAME PATH
is() { [ "$(field "$1" "$2")" = "$3" ]; } # is KIND/NAME PATH VALUE
has() { grep -q -- "$1" "$2"; }
