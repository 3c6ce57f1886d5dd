# as: root ann
# The machine is what the other cases rely on: systemd as PID 1, cgroup v2 alone, and the controllers delegated to the user.
. /payload/lib.sh
equal "$(cat /proc/1/comm)" systemd "the first process"
equal "$(stat -f -c %T /sys/fs/cgroup)" cgroup2fs "the cgroup file system"
for controller in cpu memory pids; do has "\b$controller\b" "$cgroup_root/cgroup.controllers"; done
"${systemctl[@]}" show -p Version
weir --version
