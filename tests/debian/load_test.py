"""load_test - what happens to disks and channels while a Debian with four processors uses them

usage: load_test.py --mullion PROGRAM --accel ENGINE

All along, a writer on each file system writes files, reads them back from the disk and compares, and readers
keep requests in flight. What is torn from under them may fail; the rest may not, and nothing may be lost.
"""
import os
import sys
import tempfile

from guest import UNWANTED, Debian, until
from images import Host, vhd
from harness import check, report

CPUS = 4
CONTROLLERS = ["6d756c6c-696f-4e53-8043-534900000000", "6d756c6d-696f-4e53-8043-534900000000"]
KEPT = 40000  # lines of a file that is to survive
LOADS = r"""
writer() {
	n=0
	while test ! -e /run/stop; do
		n=$((n + 1))
		seq $n $((n + 60000)) >/run/$1/load && sync -f /run/$1 || break
		echo 1 >/proc/sys/vm/drop_caches
		test "$(sha256sum </run/$1/load)" = "$(seq $n $((n + 60000)) | sha256sum)" || break
		echo $n >/run/rounds-$1
	done
	test -e /run/stop || echo "after $n" >/run/failed-$1
}
reader() { while test ! -e /run/stop && dd if=$1 of=/dev/null bs=64k count=400 iflag=direct 2>/dev/null; do :; done; }
scribbler() { while test ! -e /run/stop && dd if=/dev/zero of=$1 bs=16k seek=4096 count=400 oflag=direct conv=nocreat 2>/dev/null; do :; done; }
"""


class Machine:
    """A guest with a file system on a disk of each of two controllers, booted for the first case."""

    def __init__(self, folder):
        self.folder = folder
        self.data = [os.path.join(folder, "near.vhd"), os.path.join(folder, "far.vhd")]
        for path in self.data:
            vhd("create", "--size", "256M", path)
        self.guest = Debian(CPUS, append="quiet init=/bin/bash", extra=[
            "--disk", f"{self.data[0]},lun=1", "--disk", f"{self.data[1]},controller=1,lun=0"])
        self.kept = 0

    def device(self, controller, lun):
        """/dev/NAME of a disk, when it is there."""
        place = f"/sys/bus/vmbus/devices/{CONTROLLERS[controller]}/host*/target*/*:0:0:{lun}/block/"
        name = until(lambda: self.guest.shell(f"ls {place} 2>/dev/null", None).strip(),
                     f"LUN {lun} of controller {controller}")
        return f"/dev/{name}"

    def start(self, make_file_systems=False):
        """A shell, and both file systems mounted at /run/0 and /run/1."""
        self.guest.start_shell()
        self.guest.shell("cat >/run/loads <<'END'\n" + LOADS + "END\n. /run/loads")
        for number, (controller, lun) in enumerate([(0, 1), (1, 0)]):
            device = self.device(controller, lun)
            if make_file_systems:
                self.guest.shell(f"mkfs.ext4 -q {device}")
            self.guest.shell(f"mkdir -p /run/{number}; mount {device} /run/{number}")

    def load(self, *numbers):
        """Write, check and read on these file systems until stop_load()."""
        self.guest.shell("rm -f /run/stop /run/failed-* /run/rounds-*")
        for number in numbers:
            self.guest.shell(f"device=$(findmnt -no SOURCE /run/{number}); writer {number} & "
                             "reader $device & reader $device & :")
        for number in numbers:
            until(lambda number=number: self.guest.shell(f"ls /run/rounds-{number}", None),
                  "the first file")

    def stop_load(self):
        self.guest.shell("touch /run/stop; wait")
        failed = self.guest.shell("cat /run/failed-* 2>/dev/null", None).strip()
        check(not failed, f"a file could not be written or reads differently: {failed}")

    def check_messages(self, lost=()):
        """Nothing unwanted but of the disks that were torn away; the next case begins anew."""
        names = [os.path.basename(device) for device in lost]
        bad = [line for line in self.guest.shell("dmesg").splitlines() if UNWANTED.search(line)
               and not any(f"dev {name}," in line or f"[{name}]" in line for name in names)]
        check(not bad, "dmesg has:\n" + "\n".join(bad))
        self.guest.shell("dmesg -C")

    def keep(self):
        """A file on each file system that every later case must find."""
        self.kept += 1
        for number in (0, 1):
            self.guest.shell(f"seq {self.kept} {KEPT} >/run/{number}/kept-{self.kept} && sync")

    def check_kept(self):
        for number in (0, 1):
            for kept in range(1, self.kept + 1):
                self.guest.shell(f"test \"$(sha256sum </run/{number}/kept-{kept})\" = "
                                 f"\"$(seq {kept} {KEPT} | sha256sum)\"")


def boots(machine):
    machine.start(make_file_systems=True)
    machine.keep()


def channels_move(machine):
    """Every channel of both controllers goes round all processors."""
    guest = machine.guest
    channels = guest.shell("ls -d " + " ".join(f"/sys/bus/vmbus/devices/{controller}/channels/*"
                                               for controller in CONTROLLERS)).split()
    check(len(channels) == 2 * CPUS, f"{channels}")
    machine.load(0, 1)
    for turn in range(2 * CPUS):
        for number, channel in enumerate(channels):
            cpu = (turn + number) % CPUS
            got = guest.shell(f"echo {cpu} >{channel}/cpu && cat {channel}/cpu").split()
            check(got == [str(cpu)], f"{channel} is on {got}, not {cpu}")
    machine.stop_load()
    machine.check_messages()


def disk_comes_and_goes(machine):
    guest = machine.guest
    path = os.path.join(machine.folder, "guest.vhd")
    vhd("create", "--size", "128M", path)
    lost = []
    for turn in range(3):
        machine.load(0, 1)
        guest.ctl("disk-add", "--lun", "7", path)
        lost.append(machine.device(0, 7))
        if turn:
            guest.shell(f"test \"$(head -c 2M {lost[-1]} | sha256sum)\" = "
                        f"\"$(seq {turn - 1} 999999 | head -c 2M | sha256sum)\"")
        guest.shell(f"seq {turn} 999999 | head -c 2M | dd of={lost[-1]} bs=64k iflag=fullblock "
                    "conv=fsync,nocreat 2>/dev/null")
        guest.shell(f"scribbler {lost[-1]} & scribbler {lost[-1]} & reader {lost[-1]} & :")
        guest.terminal.wait_seconds(0.3)
        guest.ctl("disk-remove", "--lun", "7")
        until(lambda: not guest.shell("ls -d /sys/class/scsi_disk/*:0:0:7 2>/dev/null", None).strip(),
              "the end of LUN 7")
        machine.stop_load()
    machine.check_messages(lost)


def controller_is_unbound(machine):
    """The driver lets go of the second controller and takes it again; the first one works on."""
    guest = machine.guest
    guest.shell("umount /run/1")
    driver = "/sys/bus/vmbus/drivers/hv_storvsc"
    lost = []
    for _ in range(3):
        lost.append(machine.device(1, 0))
        machine.load(0)
        guest.shell(f"reader {lost[-1]} & reader {lost[-1]} & :")
        guest.terminal.wait_seconds(0.3)
        guest.shell(f"echo {CONTROLLERS[1]} >{driver}/unbind")
        guest.shell(f"echo {CONTROLLERS[1]} >{driver}/bind")
        machine.device(1, 0)
        machine.stop_load()
    guest.shell(f"mount {machine.device(1, 0)} /run/1")
    machine.check_kept()
    machine.check_messages(lost)


def reboots(machine):
    guest = machine.guest
    for turn in range(3):
        machine.load(0, 1)
        machine.keep()
        guest.terminal.seen = b""
        if turn == 1:
            guest.ctl("reset")
        else:
            guest.terminal.type(b"echo 1 >/proc/sys/kernel/sysrq; echo b >/proc/sysrq-trigger\n")
        machine.start()
        machine.check_kept()
        machine.check_messages()
    check(guest.ctl("status")["result"]["boots"] == 4, "it booted another number of times")


def images_are_whole(machine):
    machine.guest.shell("umount /run/0 /run/1")
    machine.guest.ctl("stop")
    machine.guest.terminal.wait_end()
    with tempfile.TemporaryDirectory() as folder, Host(folder) as host:
        for path in machine.data:
            host.checked(path)


CASES = [
    ("it boots, with two controllers", boots),
    ("channels move to other processors", channels_move),
    ("a disk comes and goes, itself under load", disk_comes_and_goes),
    ("a controller loses its driver and gets it back", controller_is_unbound),
    ("three reboots, none at rest", reboots),
    ("the images are whole", images_are_whole),
]


def main():
    with tempfile.TemporaryDirectory(prefix="mullion-load-") as folder:
        machine = Machine(folder)
        with machine.guest:
            return report(CASES, lambda case: case(machine))


sys.exit(main())
