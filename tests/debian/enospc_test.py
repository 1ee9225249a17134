"""enospc_test - the host runs out of room while a Debian writes: it waits, goes on, and has lost nothing

usage: enospc_test.py --mullion PROGRAM --accel ENGINE

Each disk lies where room can be taken and given: on a small tmpfs (as root), and below the
process's own limit on the size of a file (as anybody).
"""
import hashlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time

from guest import Debian, until
from images import Host, vhd
from harness import HANG_SECONDS, Failure, argument, check, report, run

MIB = 1 << 20
SMALL, LARGE = 48 * MIB, 512 * MIB
WRITTEN = 64 * MIB  # more than SMALL holds
LONG_WAIT_SECONDS = 27


def wanted_sum():
    """Of what the guest's fill() writes."""
    text, number = hashlib.sha256(), 1
    left = WRITTEN
    while left:
        lines = "".join(f"{n}\n" for n in range(number, number + 100000)).encode()[:left]
        number += 100000
        left -= len(lines)
        text.update(lines)
    return text.hexdigest()


class SmallFileSystem:
    """A folder with little room, until give()."""

    def __init__(self, folder, guest):
        self.folder = folder
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "none", folder], check=True)

    def give(self):
        subprocess.run(["mount", "-o", f"remount,size={LARGE}", self.folder], check=True)

    def end(self):
        subprocess.run(["umount", "-l", self.folder], check=True)


class SmallFiles:
    """No file of the process may grow beyond that size, until give()."""

    def __init__(self, folder, guest):
        self.process = guest.terminal.process.pid
        self.limit(SMALL)

    def limit(self, count):
        hard = resource.prlimit(self.process, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(self.process, resource.RLIMIT_FSIZE, (count, hard))

    def give(self):
        self.limit(resource.RLIM_INFINITY)

    def end(self):
        pass


class Disk:
    """A disk with ext4 in the running guest, whose image has little room on the host."""

    def __init__(self, guest, kind, lun):
        self.guest, self.lun = guest, lun
        self.folder = tempfile.mkdtemp(prefix="mullion-full-")
        self.place = kind(self.folder, guest)
        self.path = os.path.join(self.folder, f"disk-{lun}.vhd")
        vhd("create", "--size", "256M", self.path)
        try:
            self.connect()
            guest.shell(f"mkfs.ext4 -q {self.device} && mkdir -p /run/{lun} && "
                        f"mount {self.device} /run/{lun} && sync")
        except Failure:
            self.__exit__(True)
            raise

    def __enter__(self):
        return self

    def __exit__(self, failure, *_):
        if failure and os.path.exists(self.guest.socket):  # for the next case's sake
            self.place.give()
            run([argument("mullion"), "ctl", self.guest.socket, "disk-remove", "--lun",
                 str(self.lun)])
        self.place.end()
        shutil.rmtree(self.folder)

    def connect(self):
        self.guest.ctl("disk-add", "--lun", str(self.lun), self.path)
        name = until(lambda: self.guest.shell(
            f"ls /sys/class/scsi_disk/0:0:0:{self.lun}/device/block 2>/dev/null", None).strip(),
            f"LUN {self.lun}")
        self.device = f"/dev/{name}"

    def fill(self):
        """Let the guest write more than there is room for; it does not come back."""
        self.guest.terminal.type(
            f"(seq 1 99999999 | head -c {WRITTEN} >/run/{self.lun}/file && sync && "
            f"echo written-{self.lun}) &\n".encode())

    def check_contents(self):
        self.guest.terminal.wait_for(f"written-{self.lun}\n")
        got = self.guest.shell(f"sync; echo 3 >/proc/sys/vm/drop_caches; "
                               f"sha256sum /run/{self.lun}/file")
        check(wanted_sum() in got, f"{self.path} reads differently")

    def take_away(self):
        """Out of the guest; then the host looks at it."""
        self.guest.shell(f"umount /run/{self.lun}")
        self.guest.ctl("disk-remove", "--lun", str(self.lun))
        with tempfile.TemporaryDirectory() as folder, Host(folder) as host:
            host.checked(self.path)


def why(guest):
    """What it waits for, in words; empty while it runs."""
    answer = guest.ctl("status")["result"]
    return answer["why"] if answer["state"] == "waiting-for-space" else ""


def wait_until_waiting(guest, disk):
    until(lambda: disk.path in why(guest), f"no room for {disk.path}")


def check_silent(guest):
    """The guest prints "tick" all the time: none comes any more."""
    end = time.monotonic() + HANG_SECONDS
    while True:
        before = len(guest.terminal.seen)
        guest.terminal.wait_seconds(1)
        if len(guest.terminal.seen) == before:
            return
        check(time.monotonic() < end, "its processors do not stand still")


def waits_and_goes_on(guest, kind):
    with Disk(guest, kind, 1) as disk:
        disk.fill()
        guest.terminal.type(b"while sleep 0.1; do echo tick; done & ticker=$!\n")
        wait_until_waiting(guest, disk)
        check_silent(guest)
        disk.place.give()
        until(lambda: guest.ctl("status")["result"]["state"] == "running", "the guest goes on")
        guest.shell("kill $ticker")
        disk.check_contents()
        disk.take_away()
    guest.check_messages()


def uptime(guest):
    return float(guest.shell("cat /proc/uptime").split()[0])


def has_host_time(guest):
    before = time.time()
    date = float(guest.shell("date +%s.%N"))
    return before - 1 < date < time.time() + 1


def long_wait_is_no_time(guest):
    """Longer than the 20 s after which a Linux takes a processor that did nothing for stuck."""
    guest.shell("modprobe hv_utils")
    with Disk(guest, SmallFiles, 6) as disk:
        before, started = uptime(guest), time.monotonic()
        disk.fill()
        guest.terminal.type(b"while sleep 0.1; do echo tick; done & ticker=$!\n")
        wait_until_waiting(guest, disk)
        check_silent(guest)
        waited = time.monotonic()
        guest.terminal.wait_seconds(LONG_WAIT_SECONDS)
        waited = time.monotonic() - waited
        disk.place.give()
        until(lambda: guest.ctl("status")["result"]["state"] == "running", "the guest goes on")
        guest.shell("kill $ticker")
        disk.check_contents()
        lived, passed = uptime(guest) - before, time.monotonic() - started
        check(lived < passed - waited + 1,
              f"{lived:.1f} s for the guest, of {passed:.1f} s with {waited:.1f} s stopped")
        until(lambda: has_host_time(guest), "the host's time of day")
        disk.take_away()
    guest.check_messages()


def waits_for_both(guest):
    """The first to be full stops the guest, so the other's writes must be under way by then."""
    with Disk(guest, SmallFileSystem, 1) as first, Disk(guest, SmallFileSystem, 2) as second:
        guest.shell("sync")
        first.fill()
        second.fill()
        given = set()
        while len(given) < 2:
            full = until(lambda: [disk for disk in (first, second) if disk not in given and
                                  disk.path in why(guest)], "the host is full")[0]
            full.place.give()
            given.add(full)
        first.check_contents()
        second.check_contents()
        first.take_away()
        second.take_away()
    guest.check_messages()


def full_disk_is_removed(guest):
    """Its writes fail, and the guest goes on without it."""
    with Disk(guest, SmallFileSystem, 3) as disk:
        disk.fill()
        wait_until_waiting(guest, disk)
        guest.ctl("disk-remove", "--lun", "3")
        until(lambda: guest.ctl("status")["result"]["state"] == "running", "the guest goes on")
        until(lambda: "0:0:0:3" not in guest.shell("ls /sys/class/scsi_disk"), "LUN 3's end")
        guest.shell("wait; umount -l /run/3")  # what fill() left would speak up later
        with tempfile.TemporaryDirectory() as folder, Host(folder) as host:
            host.checked(disk.path)


def full_guest_is_reset(guest):
    with Disk(guest, SmallFileSystem, 4) as disk:
        disk.fill()
        wait_until_waiting(guest, disk)
        guest.terminal.seen = b""
        guest.ctl("reset")
        guest.start_shell()
        check(guest.ctl("status")["result"]["state"] == "running", "it does not run")
        disk.place.give()
        guest.shell(f"until test -e /sys/class/scsi_disk/0:0:0:4/device/block; do sleep 0.1; done; "
                    f"mkdir -p /run/4; mount /dev/$(ls /sys/class/scsi_disk/0:0:0:4/device/block)"
                    f" /run/4 && umount /run/4")
        guest.ctl("disk-remove", "--lun", "4")
        with tempfile.TemporaryDirectory() as folder, Host(folder) as host:
            host.checked(disk.path)


def full_guest_is_stopped(guest):
    with Disk(guest, SmallFileSystem, 5) as disk:
        disk.fill()
        wait_until_waiting(guest, disk)
        guest.ctl("stop")
        guest.terminal.wait_end()
        with tempfile.TemporaryDirectory() as folder, Host(folder) as host:
            host.checked(disk.path)


CASES = [
    ("a limit on the size of files: the guest waits, then goes on",
     lambda guest: waits_and_goes_on(guest, SmallFiles)),
    ("a long wait: for the guest no time has passed, but its clock is right", long_wait_is_no_time),
]
AS_ROOT = [
    ("a full file system: the guest waits, then goes on",
     lambda guest: waits_and_goes_on(guest, SmallFileSystem)),
    ("two full file systems: the guest waits for both", waits_for_both),
    ("a disk without room is removed", full_disk_is_removed),
    ("a guest that waits for room is reset", full_guest_is_reset),
    ("a guest that waits for room is stopped", full_guest_is_stopped),
]


def main():
    cases = CASES + (AS_ROOT if os.geteuid() == 0 else [])
    with Debian(2, append="quiet init=/bin/bash", memory="512M") as guest:
        guest.start_shell()
        return report(cases, lambda case: case(guest))


sys.exit(main())
