# level1.sh - a machine with hardware virtualization where there is none; to be sourced, by sh
# shellcheck shell=sh
#
# QEMU's TCG emulates AMD SVM with nested paging, so a stock Debian kernel in it (level 1) offers a
# real /dev/kvm. Its initramfs only loads modules and enters the root file system, an ext4 image of
# what the caller chose, mounted read-only: programs, disk images, and a script /run, which does the
# work. Level 1 has /tmp in memory, and ends with /run.
#
#   level1_begin             make $root, the folder that becomes the root file system
#   level1_program FILE      put a program there, in /bin, with the libraries it needs
#   level1_file FILE PATH    put a file there; linked if it can be, since images are large
#   level1_run [WORD...]     boot; the words (NAME=VALUE) are in /run's environment. Output: stdout
#
# Without what it needs the caller ends with status 77: skipped.
#
# Level 1 has one processor, because of a fault of QEMU's SVM (in all versions seen, 7.2 too). A
# VMRUN that injects an interrupt leaves its vector behind in the emulated processor. If the thread
# of that processor is then asked to leave its loop for anything but an interrupt, and no VM exit or
# exception comes first, the vector is delivered once more, even where interrupts are off. A guest
# at level 2 hit in its kernel's entry code overruns its entry stack or ends in a triple fault. Read
# in QEMU's source; guests of a level 1 that was stopped and continued 50 times a second died so, 3
# of 4. That an emulated machine with several processors also does it by itself, to stop the
# others, is inference; with one processor there is nobody to stop, and no guest died so.

skip() { echo "skipped: $*"; exit 77; }

level1_begin() {
	PATH=$PATH:/usr/sbin:/sbin
	for tool in qemu-system-x86_64:qemu-system-x86 busybox:busybox-static mke2fs:e2fsprogs; do
		command -v "${tool%:*}" >/dev/null || skip "${tool%:*} is not installed (package ${tool#*:})"
	done
	busybox=$(command -v busybox)
	if ldd "$busybox" >/dev/null 2>&1; then skip "busybox is not static (package busybox-static)"; fi
	# shellcheck disable=SC2154 # the caller's: the top of the source tree
	kernel=$("$top/scripts/guest-kernel" cloud)
	modules=${kernel%/boot/*}/lib/modules
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	trap 'exit 1' INT TERM HUP
	root=$work/root
	mkdir -p "$root/bin" "$root/proc" "$root/sys" "$root/dev" "$root/tmp"
	cp "$busybox" "$root/bin/busybox"
}

level1_file() {
	mkdir -p "$(dirname "$root$2")"
	ln -L "$1" "$root$2" 2>/dev/null || cp -L --sparse=always "$1" "$root$2"
}

level1_program() {
	level1_file "$1" "/bin/$(basename "$1")"
	ldd "$1" | sed -n 's/.*[[:space:]]\(\/[^ ]*\) (0x.*/\1/p' | while read -r library; do
		[ -e "$root$library" ] || level1_file "$library" "$library"
	done
}

level1_modules="
	irqbypass ccp kvm kvm-amd
	virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk"

level1_initramfs() {
	mkdir -p "$work/initramfs/bin" "$work/initramfs/dev" "$work/initramfs/root" "$work/initramfs/modules"
	cp "$busybox" "$work/initramfs/bin/busybox"
	for module in $level1_modules; do
		file=$(find "$modules" -name "$module.ko" | head -n 1)
		[ -z "$file" ] || cp "$file" "$work/initramfs/modules/"
	done
	list=$(echo "$level1_modules" | tr '\n\t' '  ')
	cat > "$work/initramfs/init" <<-INIT
		#!/bin/busybox sh
		busybox() { /bin/busybox "\$@"; }
		for module in $list; do
			[ ! -e /modules/\$module.ko ] || busybox insmod /modules/\$module.ko
		done
		busybox mount -t devtmpfs dev /dev
		[ -b /dev/vda ] || { echo "LEVEL1 has no disk"; busybox poweroff -f; }
		busybox mount -t ext4 -o ro,noload /dev/vda /root
		busybox mount --move /dev /root/dev
		busybox mount -t proc proc /root/proc
		busybox mount -t sysfs sys /root/sys
		busybox mount -t debugfs debug /root/sys/kernel/debug
		busybox mount -t tmpfs -o size=75% tmp /root/tmp
		busybox chroot /root /bin/busybox --install -s /tmp
		export PATH=/bin:/tmp
		echo "LEVEL1 up: \$(busybox uname -r), \$(busybox ls /root/dev/kvm)"
		busybox chroot /root /bin/busybox sh /run </root/dev/null
		busybox poweroff -f
	INIT
	chmod +x "$work/initramfs/init"
	(cd "$work/initramfs" && find . | "$busybox" cpio -o -H newc 2>/dev/null) | gzip -1 > "$work/initramfs.img"
}

# ext4 with room for its tables; nothing is written to it.
level1_root_image() {
	kilobytes=$(du -sk "$root" | cut -f 1)
	mke2fs -q -t ext4 -d "$root" "$work/root.img" "$((kilobytes * 11 / 10 + 32768))k" >/dev/null 2>&1
}

level1_run() {
	level1_initramfs
	level1_root_image
	# In the foreground: what ends the caller ends it too.
	timeout --foreground "${KVM_NESTED_LIMIT_SECONDS:-2400}" qemu-system-x86_64 \
		-accel tcg,thread=multi -cpu max -smp 1 -m 3G -nographic -nodefaults -serial stdio \
		-no-reboot -kernel "$kernel" -initrd "$work/initramfs.img" \
		-append "console=ttyS0 panic=-1 quiet $*" \
		-drive "file=$work/root.img,format=raw,if=virtio,readonly=on" </dev/null | sed -u 's/\r\r*$//' || true
}
