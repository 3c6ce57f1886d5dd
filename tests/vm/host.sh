# What whoever boots the machine shares: the payload disk, and how qemu is called.

payload() { # payload RUN: builds weir, and begins a payload in RUN/payload, which the caller adds to
  cargo build --locked --bins --example vm-units --quiet
  mkdir -p "$1/payload/bin" "$1/payload/results"
  local program
  for program in weir ctl weir-shim examples/vm-units; do
    strip --strip-debug -o "$1/payload/bin/${program#*/}" "${CARGO_TARGET_DIR:-target}/debug/$program"
  done
  cp tests/vm/guest tests/vm/lib.sh "$1/payload/"
}

packed() { # packed RUN: RUN/payload becomes the disk RUN/payload.img
  chmod -R a+rX "$1/payload"
  mkfs.ext4 -q -d "$1/payload" "$1/payload.img" 512M >&2
}

machine() { # machine IMAGE RUN [KERNEL-WORD…]: sets qemu, the command line; the console is its standard input and output
  qemu=(qemu-system-x86_64 -M q35 -accel "tcg,thread=multi" -cpu max -m 2048 -smp 2 -nographic -no-reboot -nic none
    -kernel "$1/vmlinuz" -initrd "$1/initrd"
    -append "root=/dev/vda rw console=ttyS0 quiet loglevel=3 systemd.show_status=0 fsck.mode=skip ${*:3}"
    -drive "file=$1/rootfs.img,if=virtio,format=raw,snapshot=on"
    -drive "file=$2/payload.img,if=virtio,format=raw")
}
