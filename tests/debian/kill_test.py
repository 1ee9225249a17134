"""kill_test - mullion is killed while a Debian writes; what the guest was told is safe must be there

usage: kill_test.py --mullion PROGRAM --accel ENGINE [--kills N] [--seed N]

The guest has its root on a differencing VHD and a second disk, a dynamic VHD with ext4, and keeps
both for all kills. writers.pl writes to both and tells on the console what has been synced. After
each kill the images are converted to raw ones, and the host's e2fsck and debugfs look at those:
only the journal may be in need of attention, and everything told must be there. The next boot
starts with the images as the kill left them.
"""
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

from guest import Debian, number_argument
from images import Host, vhd
from harness import check, excerpt, report

DATA_BYTES = 768 << 20
ROOT_OFFSET = 1 << 20
TOLD = re.compile(r"^@ ([SRODXF]) (\d+)\n", re.MULTILINE)


def pattern(tag, count):
    line = tag.encode() + b"\n"
    return (line * (count // len(line) + 1))[:count]


# --- what each writer promised; @told is the set of its numbers ---

def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def check_small(writer, folder, told):
    for n in told:
        got = read(os.path.join(folder, str(n)))
        check(got == pattern(f"{writer} {n}", n * 7919 % 12000 + 1),
              f"writer {writer}: file {n} of {len(told)} is " +
              ("gone" if got is None else f"wrong, {len(got)} bytes: {got[:40]}"))


def check_overwritten(path, told):
    last = {n * 37 % 256: n for n in sorted(told)}
    contents = read(path)
    check(contents and len(contents) == 1 << 20, "writer O: its file is gone")
    for slot, wanted in last.items():
        for at in range(slot * 4096, (slot + 1) * 4096, 512):
            sector = contents[at:at + 512]
            found = re.fullmatch(rb"O (\d+)\n\0+", sector)
            number = int(found.group(1)) if found else -1
            check(number >= wanted and number * 37 % 256 == slot,
                  f"writer O: byte {at} has {sector[:20]}, wanted {wanted} or later")


def check_come_and_gone(folder, told, gone):
    for n in gone:
        check(read(os.path.join(folder, str(n))) is None, f"writer D: file {n} is back")
    for n in told - gone:
        got = read(os.path.join(folder, str(n)))
        check(got is None or got == pattern(f"D {n}", n * 104729 % 70000 + 1),
              f"writer D: file {n} is wrong")
    # The console lags behind the disk, by no more than it can hold.
    check(not told or os.listdir(folder), "writer D: all files are gone")


def check_preallocated(folder, told):
    for n in told:
        at = n % 3 * 32768
        wanted = bytearray(131072)
        wanted[at:at + 12288] = pattern(f"F {n}", 12288)
        wanted[at + 4096:at + 8192] = bytes(4096)
        check(read(os.path.join(folder, str(n))) == wanted, f"writer F: file {n} is gone or wrong")


class Machine:
    """Two disks that outlive every kill, and what was promised about them."""

    def __init__(self, folder):
        self.folder = folder
        self.root = os.path.join(folder, "root.vhd")
        self.data = os.path.join(folder, "data.vhd")
        self.told = {}  # kill -> writer -> numbers
        self.random = random.Random(number_argument("seed", random.randrange(1 << 30)))
        self.make_data()

    def make_data(self):
        files, raw = os.path.join(self.folder, "files"), os.path.join(self.folder, "data.raw")
        os.mkdir(files)
        shutil.copy(os.path.join(os.path.dirname(os.path.abspath(__file__)), "writers.pl"), files)
        with open(raw, "wb") as file:
            file.truncate(DATA_BYTES)
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", files, raw], check=True)
        vhd("convert", "--format", "vhd-dynamic", raw, self.data)
        os.remove(raw)

    def guest(self):
        guest = Debian(1, disk=self.root, extra=["--disk", self.data], memory="512M",
                       append="quiet init=/bin/bash")
        if not os.path.exists(self.root):
            guest.child_disk(self.root)
        return guest

    def start_writers(self, guest, kill):
        guest.start_shell()
        guest.shell("until test -e /sys/class/scsi_disk/0:0:0:1/device/block; do sleep 0.1; done")
        guest.shell("mount -o remount,rw / && mount -t ext4 "
                    "/dev/$(ls /sys/class/scsi_disk/0:0:0:1/device/block) /mnt")
        old = kill - 2
        guest.terminal.type(f"rm -rf /mnt/kill-{old} /var/tmp/kill-{old} & "
                            f"perl /mnt/writers.pl /mnt/kill-{kill} /var/tmp/kill-{kill}\n"
                            .encode())

    def write_and_kill(self, kill):
        """Boot, let it write for a random time, kill it, and remember what it told."""
        lines, seconds = self.random.randrange(1, 600), self.random.random() * 3
        with self.guest() as guest:
            terminal = guest.terminal
            self.start_writers(guest, kill)
            terminal.wait_for("@ ")
            start = terminal.text().index("@ ")
            while terminal.text().count("\n@ ", start) < lines:
                check("writer failed" not in terminal.text(), excerpt(terminal.text()))
                terminal.wait_for_more()
            terminal.wait_seconds(seconds)
            terminal.signal(9)
            terminal.wait_end()
            text = terminal.text()[start:]
        told = {writer: set() for writer in "SRODXF"}
        for writer, number in TOLD.findall(text):
            told[writer].add(int(number))
        self.told[kill] = told
        return sum(map(len, told.values()))

    def check_kill(self, host, root, data, kill):
        told = self.told[kill]
        folder = host.dump(data, f"/kill-{kill}")
        check_small("S", os.path.join(folder, "S"), told["S"])
        check_overwritten(os.path.join(folder, "O"), told["O"]) if told["O"] else None
        if told["D"]:
            check_come_and_gone(os.path.join(folder, "D"), told["D"], told["X"])
        check_preallocated(os.path.join(folder, "F"), told["F"])
        shutil.rmtree(folder)
        folder = host.dump(root, f"/var/tmp/kill-{kill}")
        check_small("R", os.path.join(folder, "R"), told["R"])

    def check_all(self, kill):
        with Host(self.folder) as host:
            root = host.checked(self.root, ROOT_OFFSET)
            data = host.checked(self.data)
            for earlier in (kill - 1, kill):
                if earlier in self.told:
                    shutil.rmtree(os.path.join(host.folder, "files"), ignore_errors=True)
                    self.check_kill(host, root, data, earlier)


def main():
    folder = tempfile.mkdtemp(prefix="mullion-kill-")
    machine = Machine(folder)

    def case(kill):
        began = time.monotonic()
        lines = machine.write_and_kill(kill)
        machine.check_all(kill)
        print(f"# {lines} promises kept, {time.monotonic() - began:.0f} s", flush=True)

    failed = 1
    try:
        kills = number_argument("kills", 2)
        failed = report([(f"kill {kill}: what was synced is there", kill)
                         for kill in range(1, kills + 1)], case)
    finally:
        if failed and "--keep" in sys.argv:
            print(f"# kept {folder}")
        else:
            shutil.rmtree(folder)
    return failed


sys.exit(main())
