"""kexec_test - a Debian starts another kernel without a reset; VMBus and the disks connect anew

usage: kexec_test.py --mullion PROGRAM --accel ENGINE

Needs no tools in the guest: perl makes the system calls.
"""
import os
import sys
import tempfile

from guest import Debian, until
from images import Host, vhd
from harness import check, expect_match, report

KEXEC = r"""
use strict; use Fcntl;
my ($flags, $line) = @ARGV;
sysopen(my $kernel, '/vmlinuz', O_RDONLY) or die $!;
sysopen(my $initrd, '/initrd.img', O_RDONLY) or die $!;
syscall(320, fileno($kernel), fileno($initrd), length($line) + 1, $line, $flags + 0) == 0
    or die "kexec_file_load: $!";
"""
START = "perl -e 'syscall(169, 0xfee1dead, 672274793, 0x45584543, 0)'"
ON_CRASH = 2


class Machine:
    """A guest with a second disk, booted for the first case."""

    def __init__(self, folder):
        self.data = os.path.join(folder, "data.vhd")
        vhd("create", "--size", "256M", self.data)
        self.guest = Debian(2, extra=["--disk", self.data], memory="1G",
                            append="quiet init=/bin/bash crashkernel=256M")

    def load(self, flags, extra):
        """Have the next kernel in memory, with this one's command line and @extra."""
        guest = self.guest
        guest.shell("mkdir -p /run/x; cat >/run/x/kexec.pl <<'END'\n" + KEXEC + "END\n:")
        guest.shell("line=$(sed 's/ crashkernel=[^ ]*//' /proc/cmdline); "
                    f"perl /run/x/kexec.pl {flags} \"$line {extra}\"")

    def mount(self):
        self.guest.shell("until test -e /sys/class/scsi_disk/0:0:0:1/device/block; do sleep 0.1; "
                         "done; mkdir -p /run/data; "
                         "mount /dev/$(ls /sys/class/scsi_disk/0:0:0:1/device/block) /run/data")

    def write(self, name):
        self.guest.shell(f"seq 1 300000 >/run/data/{name} && sync")

    def check_written(self, name):
        self.guest.shell(f"test \"$(sha256sum </run/data/{name})\" = "
                         "\"$(seq 1 300000 | sha256sum)\"")

    def next_kernel(self, command, word):
        """Start it; it is the one with @word on its command line, in the same boot of ours."""
        guest = self.guest
        guest.terminal.seen = b""
        guest.terminal.type(f"{command}\n".encode())
        guest.start_shell()
        expect_match(word, guest.shell("cat /proc/cmdline"), "the command line")
        status = until(lambda: guest.ctl("status")["result"], "status")
        check(status["boots"] == 1 and status["vmbus"] == "5.3", f"status: {status}")
        self.mount()


def first_kernel(machine):
    guest = machine.guest
    guest.start_shell()
    guest.shell("until test -e /sys/class/scsi_disk/0:0:0:1/device/block; do sleep 0.1; done; "
                "mkfs.ext4 -q /dev/$(ls /sys/class/scsi_disk/0:0:0:1/device/block)")
    machine.mount()
    machine.write("first")


def kexec(machine):
    machine.load(0, "crashkernel=256M kernel=second")
    machine.guest.shell("umount /run/data")
    machine.next_kernel(START, "kernel=second")
    machine.check_written("first")
    machine.write("second")
    machine.guest.check_messages()


def kexec_under_load(machine):
    """The next kernel finds a bus whose channels were in use."""
    machine.load(0, "crashkernel=256M kernel=third")
    machine.guest.shell("(while :; do seq 1 400000 >/run/data/load; sync; done) "
                        ">/dev/null 2>&1 & :")
    machine.next_kernel(START, "kernel=third")
    machine.check_written("second")
    machine.write("third")
    machine.guest.check_messages()


def kdump(machine):
    """On VP 1, so that the capture kernel's one processor, and VMBus's interrupts, are there."""
    machine.load(ON_CRASH, "kernel=capture nr_cpus=1 irqpoll reset_devices")
    machine.guest.shell("(while :; do seq 1 400000 >/run/data/load; sync; done) "
                        ">/dev/null 2>&1 & :")
    machine.next_kernel("echo 1 >/proc/sys/kernel/sysrq; taskset -c 1 sh -c "
                        "'echo c >/proc/sysrq-trigger'", "kernel=capture")
    guest = machine.guest
    guest.shell("test -s /proc/vmcore")
    machine.check_written("third")
    # Memory of the crashed kernel, by way of the disk.
    guest.shell("head -c 20M /proc/vmcore >/run/data/vmcore; sync; "
                "cmp -n 20971520 /proc/vmcore /run/data/vmcore && umount /run/data")
    bad = guest.shell("dmesg | grep -iE 'hv_.*(fail|error)|I/O error|Call Trace'", None).strip()
    check(not bad, f"dmesg has:\n{bad}")
    guest.ctl("stop")
    guest.terminal.wait_end()
    with tempfile.TemporaryDirectory() as folder, Host(folder) as host:
        host.checked(machine.data)


CASES = [
    ("the first kernel boots", first_kernel),
    ("kexec: the next finds its disks", kexec),
    ("kexec under write load: the next finds its disks", kexec_under_load),
    ("a panic on VP 1: the capture kernel finds its disks, and the dead one's memory", kdump),
]


def main():
    with tempfile.TemporaryDirectory(prefix="mullion-kexec-") as folder:
        machine = Machine(folder)
        with machine.guest:
            return report(CASES, lambda case: case(machine))


sys.exit(main())
