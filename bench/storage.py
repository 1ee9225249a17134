#!/usr/bin/env python3
"""storage - Mullion's synthetic disks against QEMU's under TCG, as ratios, in one run

The same unmodified Debian (scripts/guest-debian) runs on

    mullion  Mullion's software CPU; the data disk is a dynamic VHD on storvsp
    virtio   QEMU's TCG; the data disk is a raw file on virtio-blk
    ide      QEMU's TCG; the data disk is a dynamic VHD on IDE, by QEMU's own vpc driver

In each round all are booted, one after the other, and then run fio in turn, one job at a time, so
that a busy machine disturbs all alike; of each job the best round counts. Every block of the data
disks is written before. All guests use the host's page cache. A guest's clock is compared with the
host's, so one whose time runs slow cannot look fast.

Exit status: 0 when the bars are met, 1 when one is missed or a run failed, 2 for usage.
"""
import argparse
import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, "tests"))
sys.path.insert(0, os.path.join(TOP, "tests/debian"))
from guest import Debian
from harness import Failure, Terminal, check

MEMORY = "512M"
DATA_DISK = 512 << 20
DISK_LIMIT = 1 << 30  # the system disk is larger
IOPS_WANTED = 1.5
BOOT_WANTED = 1.0

# name -> how fio is to read or write, block size, depth
JOBS = {
    "randread_4k_1": ("randread", "4k", 1),
    "randread_4k_32": ("randread", "4k", 32),
    "randwrite_4k_1": ("randwrite", "4k", 1),
    "randwrite_4k_32": ("randwrite", "4k", 32),
    "read_1m": ("read", "1m", 4),
    "write_1m": ("write", "1m", 4),
}

# Fields of fio's terse output, version 3.
TERSE_VERSION, TERSE_ERROR, TERSE_READ_IOPS, TERSE_WRITE_IOPS = 0, 4, 7, 48


class Guest(Debian):
    """A Debian on any machine, driven through its serial console."""

    def __init__(self, name, command):  # pylint: disable=super-init-not-called
        self.name, self.command = name, command
        self.terminal = self.data = None
        self.commands = 0
        self.boot = None

    def __exit__(self, *_):
        self.terminal.__exit__()

    def __enter__(self):
        start = time.monotonic()
        self.terminal = Terminal(self.command)
        self.terminal.wait_for("debian login:")
        self.boot = time.monotonic() - start
        self.log_in()
        self.data = self.find_data()
        return self

    def find_data(self):
        """The data disk's name: drivers look for disks in any order."""
        disks = self.shell("grep . /sys/block/[sv]d?/size")
        sizes = {line.split("/")[3]: int(line.rsplit(":", 1)[1]) * 512
                 for line in disks.splitlines() if line.startswith("/sys/")}
        name = min(sizes, key=sizes.get)
        check(len(sizes) == 2 and sizes[name] < DISK_LIMIT, f"{self.name}: disks are {sizes}")
        return name

    def clock(self):
        """The guest's time and the host's, in seconds."""
        seconds = float(self.shell("date +%s.%N").split()[-1])
        return seconds, time.monotonic()

    def fio(self, seconds, kind, block, depth, more=""):
        """I/O operations per second."""
        end = f"--time_based --runtime={seconds} --ramp_time=1" if seconds else ""
        output = self.shell(f"fio --name=job --filename=/dev/{self.data} --direct=1 --rw={kind} "
                            f"--ioengine=libaio --bs={block} --iodepth={depth} --minimal "
                            f"--terse-version=3 --randrepeat=1 {end} {more}")
        fields = next(line for line in output.splitlines() if line.startswith("3;")).split(";")
        check(fields[TERSE_ERROR] == "0", f"{self.name}: fio failed: {output}")
        return float(fields[TERSE_READ_IOPS if "read" in kind else TERSE_WRITE_IOPS])


def check_clock(name, before, after):
    guest, host = (after[i] - before[i] for i in (0, 1))
    check(abs(guest - host) <= 0.3 + 0.02 * host,
          f"{name}: {guest:.2f} s of guest time took {host:.2f} s of host time")


# --- machines ---

class Images:
    """Debian's files, and a folder for disks."""

    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        environment = dict(os.environ, MULLION=options.mullion)
        done = subprocess.run([os.path.join(TOP, "scripts/guest-debian")], check=True,
                              stdout=subprocess.PIPE, text=True, env=environment)
        self.debian = done.stdout.strip().splitlines()[-1]
        with open(os.path.join(self.debian, "cmdline"), encoding="ascii") as file:
            self.append = file.read().strip()

    def file(self, name):
        return os.path.join(self.debian, name)

    def vhd(self, name, *more):
        """A new VHD in the folder; one of an earlier round is thrown away."""
        path = os.path.join(self.folder, name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        subprocess.run([self.options.mullion, "vhd", "create", path, *more], check=True,
                       stdout=subprocess.DEVNULL)
        return path

    def data_vhd(self, name):
        return self.vhd(name, "--format", "vhd-dynamic", "--size", str(DATA_DISK))

    def raw(self, name):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as file:
            file.truncate(DATA_DISK)
        return path


def mullion_machine(options, images, name="mullion", program=None):
    system = images.vhd(f"{name}-system.vhd", "--format", "vhd-differencing", "--parent",
                        images.file("disk.vhd"))
    command = [program or options.mullion, "run", "--accel", options.accel, "--memory", MEMORY,
               "--cpus", str(options.cpus), "--kernel", images.file("vmlinuz"),
               "--initrd", images.file("initrd.img"), "--append", images.append,
               "--disk", system, "--disk", images.data_vhd(f"{name}.vhd")]
    return Guest(name, command)


def other_machine(options, images):
    return mullion_machine(options, images, "other", options.other)


def qemu_machine(options, images, name, machine, disks):
    command = [options.qemu, "-accel", "tcg,thread=multi", "-cpu", "max", "-M", machine,
               "-nodefaults", "-display", "none", "-serial", "stdio", "-m", MEMORY,
               "-smp", str(options.cpus), "-kernel", images.file("vmlinuz"),
               "-initrd", images.file("initrd.img"), "-append", images.append, *disks]
    return Guest(name, command)


def virtio_machine(options, images):
    how = f"cache=writeback,aio={options.aio}"
    return qemu_machine(options, images, "virtio", "q35", [
        "-drive", f"file={images.file('disk.raw')},format=raw,snapshot=on,if=virtio,{how}",
        "-drive", f"file={images.raw('virtio.raw')},format=raw,if=virtio,{how}"])


def ide_machine(options, images):
    how = "if=ide,cache=writeback"
    return qemu_machine(options, images, "ide", "pc", [
        "-drive", f"file={images.file('disk.raw')},format=raw,snapshot=on,index=0,{how}",
        "-drive", f"file={images.data_vhd('ide.vhd')},format=vpc,index=2,{how}"])


MACHINES = {"mullion": mullion_machine, "virtio": virtio_machine, "ide": ide_machine}
OTHER = {"other": other_machine}

# --- measuring ---


def boot(stack, options, images, best):
    """All machines, at their shell and with their data disks written."""
    guests = []
    for name in options.machines:
        guest = stack.enter_context((MACHINES | OTHER)[name](options, images))
        print(f"  {name}: {guest.boot:.1f} s to the login prompt", file=sys.stderr, flush=True)
        best[name]["boot"] = min(best[name].get("boot", math.inf), guest.boot)
        guests.append(guest)
    for guest in guests:
        guest.fio(0, "write", "1m", 4, "--end_fsync=1")
    return guests


def run_round(options, images, best):
    with contextlib.ExitStack() as stack:
        guests = boot(stack, options, images, best)
        before = [guest.clock() for guest in guests]
        for job in options.jobs:
            for guest in guests:
                iops = guest.fio(options.seconds, *JOBS[job])
                print(f"  {guest.name}: {job} {iops:.0f}", file=sys.stderr, flush=True)
                best[guest.name][job] = max(best[guest.name].get(job, 0), iops)
        for guest, then in zip(guests, before):
            check_clock(guest.name, then, guest.clock())


def measure(options):
    best = {name: {} for name in options.machines}
    with tempfile.TemporaryDirectory(prefix="mullion-bench-") as folder:
        images = Images(options, folder)
        for number in range(options.rounds):
            print(f"storage: round {number + 1} of {options.rounds}", file=sys.stderr)
            run_round(options, images, best)
    return best


# --- results ---


def mean(ratios):
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def print_table(options, best):
    print(f"{'IOPS':18}" + "".join(f"{name:>10}" for name in best)
          + "".join(f"{'mullion/' + name:>17}" for name in best if name != "mullion"))
    for row in [*options.jobs, "boot"]:
        ratios = [best["mullion"][row] / cells[row] for name, cells in best.items()
                  if name != "mullion"] if "mullion" in best else []
        if row == "boot":
            ratios = [1 / ratio for ratio in ratios]
        print(f"{'boot, seconds' if row == 'boot' else row:18}"
              + "".join(f"{cells[row]:10.{1 if row == 'boot' else 0}f}" for cells in best.values())
              + "".join(f"{ratio:17.2f}" for ratio in ratios))


def judge(options, best):
    """Print a line per bar; return whether all are met."""
    if "mullion" not in best or "virtio" not in best:
        return True
    ours, theirs = best["mullion"], best["virtio"]
    rows = [("storage", mean([ours[job] / theirs[job] for job in options.jobs]), IOPS_WANTED,
             "virtio-blk's IOPS under TCG"),
            ("boot to login", theirs["boot"] / ours["boot"], BOOT_WANTED, "TCG's speed")]
    for name, ratio, wanted, what in rows:
        print(f"{name:24}{ratio:7.2f} times {what} (bar {wanted:.1f}): "
              f"{'met' if ratio >= wanted else 'FALLS SHORT'}")
    return all(ratio >= wanted for _, ratio, wanted, _ in rows)


def listed(text, names):
    chosen = text.split(",")
    if not set(chosen) <= set(names):
        raise argparse.ArgumentTypeError(f"one or more of {', '.join(names)}")
    return chosen


def parse_arguments():
    parser = argparse.ArgumentParser(description="Mullion's disks against QEMU's, as ratios.")
    parser.add_argument("--mullion", default=os.path.join(TOP, "build/cli/mullion"))
    parser.add_argument("--qemu", default="qemu-system-x86_64")
    parser.add_argument("--accel", default="dbt", help="Mullion's engine")
    parser.add_argument("--aio", default="io_uring", help="of QEMU's raw files: or threads")
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="how long each job runs")
    parser.add_argument("--jobs", default=list(JOBS), type=lambda text: listed(text, JOBS),
                        help=f"comma-separated: {', '.join(JOBS)}")
    parser.add_argument("--machines", default=list(MACHINES),
                        type=lambda text: listed(text, MACHINES),
                        help=f"comma-separated: {', '.join(MACHINES)}")
    parser.add_argument("--other", metavar="MULLION", help="another build, as one machine more")
    parser.add_argument("--json", metavar="FILE", help="write all numbers there as well")
    options = parser.parse_args()
    if options.other:
        options.machines.append("other")
    return options


def main():
    options = parse_arguments()
    try:
        best = measure(options)
    except Failure as failure:
        print(f"storage.py: {failure}", file=sys.stderr)
        return 1
    print_table(options, best)
    met = judge(options, best)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(best, file, indent=1)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
