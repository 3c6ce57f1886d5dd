# as: root ann
# Limits of a service that runs are set through systemd fifty times and read back from the kernel, and its process is the same.
# seconds: 90
. /payload/lib.sh
run=(systemd-run)
[ "$(id -u)" = 0 ] || run+=(--user)
"${run[@]}" --quiet --unit=case-units sleep 10000
wait_for 10 "${systemctl[@]}" is-active case-units.service
pid=$("${systemctl[@]}" show -P MainPID case-units.service)
vm-units case-units.service
equal "$("${systemctl[@]}" show -P MainPID case-units.service)" "$pid" "the service's process"
"${systemctl[@]}" stop case-units.service
