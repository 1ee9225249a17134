# guest.sh - a guest at level 2, driven through its serial console; to be sourced, by busybox's sh
# shellcheck shell=sh
# shellcheck disable=SC2034 # some of it is for who sources it
#
#   guest_start COMMAND...   run it with its console in /tmp/console, shown as it comes
#   guest_wait TEXT          until the console shows it; 1 if the guest ends first
#   guest_type LINE          type it
#   guest_log_in             until there is a shell without echo and prompt, and the guest is up
#   guest_shell WORDS        run it there; its status is the result, its output is in /tmp/answer
#   guest_end                wait until the guest ends; sets status
#
# $guest_options are for the kernel's command line:
#   noxsave: QEMU 7.2's SVM does not intercept XSETBV. The guest's XCR0 is lost at its next exit, and
#     its kernel warns of an "XSAVE consistency problem";
#   quiet: a character on the console is two exits, and each of them is dear here;
#   no self-tests of ciphers, and more time for devices and services: 90 s for udev to see a disk,
#     or 180 s for modules, are little on so slow a machine;
#   a shell in place of a login, which waits for udev too.
#
# Nothing here has a time limit: whoever boots level 1 has one.

guest_options="noxsave quiet panic=-1 cryptomgr.notests udev.event_timeout=900
	systemd.default_device_timeout_sec=900 systemd.default_timeout_start_sec=900 systemd.debug_shell=ttyS0
	systemd.mask=serial-getty@ttyS0.service"
guest_options=$(echo "$guest_options" | tr -s '\n\t' ' ')

guest_start() {
	rm -f /tmp/keys /tmp/console /tmp/status
	mkfifo /tmp/keys
	: > /tmp/console
	tail -f /tmp/console &
	guest_tail=$!
	{ "$@" < /tmp/keys >> /tmp/console 2>&1; echo $? > /tmp/status.part; mv /tmp/status.part /tmp/status; } &
	exec 3> /tmp/keys
	guest_commands=0
}

guest_wait() {
	until grep -q -a -e "$1" /tmp/console; do
		[ ! -e /tmp/status ] || return 1
		sleep 0.2
	done
}

guest_type() { echo "$1" >&3; }

# The shell that systemd starts there before all else, see guest_options.
guest_log_in() {
	guest_wait 'root@debian:/#' && guest_type 'exec env TERM=dumb PS1= sh' &&
		guest_shell 'stty -echo cols 500; dmesg -n 1' &&
		guest_shell 'systemctl is-system-running --wait; systemctl is-active multi-user.target'
}

# Its output is what stands between two marks; the typed line itself has none of them. Not to be
# called in a pipeline or $(): each command has a number.
guest_shell() {
	guest_commands=$((guest_commands + 1))
	guest_type "echo be''gin-$guest_commands; { $(echo "$1" | tr '\n\t' '  ') ; }; printf '\\nen''d-%d:%d:\\n' $guest_commands \$?"
	guest_wait "^end-$guest_commands:[0-9]*:" || return 125
	tr -d '\r' < /tmp/console |
		sed -n "/^begin-$guest_commands\$/,/^end-$guest_commands:/{/^begin-/d;/^end-/d;p}" > /tmp/answer
	return "$(sed -n "s/^end-$guest_commands:\\([0-9]*\\):.*/\\1/p" /tmp/console)"
}

guest_end() {
	until [ -e /tmp/status ]; do sleep 0.2; done
	exec 3>&-
	sleep 1
	kill "$guest_tail"
	status=$(cat /tmp/status)
}
