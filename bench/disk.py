"""disk - `mullion vhd` against qemu-img: what each takes for the same, as ratios

usage: disk.py --mullion PROGRAM [--image RAW] [--folder FOLDER] [--rounds N]

RAW is a disk with a real file system, by default that of the Debian guest (scripts/guest-debian makes it), else an ext4
of the files of /usr. Both sides take turns in each round, and the best round counts. qemu-img is told to bring what it
writes to disk (-t writeback), as mullion always does.
"""
import argparse
import glob
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

MIB = 1 << 20
DENSE_BYTES = 256 * MIB


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mullion", required=True)
    parser.add_argument("--image")
    parser.add_argument("--folder")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def real_image(path):
    """A raw disk of 4 GiB with a file system in it."""
    for found in glob.glob(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".cache", "guests",
                                        "debian-*", "disk.raw")):
        subprocess.run(["cp", "--sparse=always", found, path], check=True)
        return
    with open(path, "wb") as file:
        file.truncate(4 << 30)
    subprocess.run(["mkfs.ext4", "-q", "-d", "/usr/lib/python3", path], check=True)


def dense_image(path):
    dice = random.Random(1)
    with open(path, "wb") as file:
        for _ in range(DENSE_BYTES // MIB):
            file.write(dice.randbytes(MIB))


def remove(*names):
    for name in names:
        if os.path.exists(name):
            os.unlink(name)


def once(words):
    """Seconds of the whole process."""
    remove("new", "new.raw", "new.vhd", "new.vhdx")
    began = time.monotonic()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, timeout=600)
    return time.monotonic() - began


def rows(vhd):
    """Name, ours, qemu-img's."""
    for ours, theirs in (("vhd", "vpc"), ("vhdx", "vhdx")):
        options = ["-o", "force_size=on"] if theirs == "vpc" else []
        convert = ["qemu-img", "convert", "-t", "writeback"]
        yield (f"create {ours}, 64 GiB", [*vhd, "create", f"new.{ours}", "--size", "64G"],
               ["qemu-img", "create", "-q", "-f", theirs, *options, "new", "64G"])
        yield f"info {ours}", [*vhd, "info", f"real.{ours}"], ["qemu-img", "info", "-f", theirs, f"real.{ours}"]
        if theirs == "vpc":  # qemu-img maps no VHDX
            yield f"map {ours}", [*vhd, "map", f"real.{ours}"], ["qemu-img", "map", "-f", theirs, f"real.{ours}"]
        for kind in ("real", "dense"):
            yield (f"raw to {ours}, {kind}", [*vhd, "convert", f"{kind}.raw", f"new.{ours}"],
                   [*convert, "-f", "raw", "-O", theirs, *options, f"{kind}.raw", "new"])
            yield (f"{ours} to raw, {kind}", [*vhd, "convert", f"{kind}.{ours}", "new.raw"],
                   [*convert, "-f", theirs, "-O", "raw", f"{kind}.{ours}", "new"])
        yield (f"compare raw and {ours}", [*vhd, "compare", "real.raw", f"real.{ours}"],
               ["qemu-img", "compare", "-f", "raw", "-F", theirs, "real.raw", f"real.{ours}"])


def measure(ours, theirs, rounds):
    best = [math.inf, math.inf]
    for _ in range(rounds):
        for side, words in enumerate((ours, theirs)):
            best[side] = min(best[side], once(words))
    return best


def merge_row(vhd, rounds):
    """Our child of 128 MiB on a dynamic VHD, and qemu-img's on a qcow2: it has none on a VHD."""
    best = [math.inf, math.inf]
    data = random.Random(2).randbytes(128 * MIB)
    for _ in range(rounds):
        remove("base.vhd", "child.vhd", "base.qcow2", "child.qcow2")
        subprocess.run([*vhd, "create", "base.vhd", "--size", "4G"], check=True)
        subprocess.run([*vhd, "create", "child.vhd", "--parent", "base.vhd"], check=True)
        subprocess.run([*vhd, "write", "child.vhd"], input=data, check=True)
        best[0] = min(best[0], once([*vhd, "merge", "child.vhd"]))
        with open("data.raw", "wb") as file:
            file.write(data)
            file.truncate(4 << 30)
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "base.qcow2", "4G"], check=True)
        subprocess.run(["qemu-img", "convert", "-O", "qcow2", "data.raw", "child.qcow2"], check=True)
        subprocess.run(["qemu-img", "rebase", "-u", "-b", "base.qcow2", "-F", "qcow2", "child.qcow2"], check=True)
        best[1] = min(best[1], once(["qemu-img", "commit", "-q", "-t", "writeback", "-d", "child.qcow2"]))
    return best


def prepare(vhd, image):
    if image:
        shutil.copyfile(image, "real.raw")
    else:
        real_image("real.raw")
    dense_image("dense.raw")
    for kind in ("real", "dense"):
        for name in ("vhd", "vhdx"):
            subprocess.run([*vhd, "convert", f"{kind}.raw", f"{kind}.{name}"], check=True)


def show(name, best):
    print(f"| {name} | {best[0] * 1000:.1f} | {best[1] * 1000:.1f} | {best[1] / best[0]:.2f} |", flush=True)
    return best[1] / best[0]


def main():
    arguments = parse()
    vhd = [os.path.abspath(arguments.mullion), "vhd"]
    image = arguments.image and os.path.abspath(arguments.image)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        os.chdir(scratch)
        prepare(vhd, image)
        print("| | mullion, ms | qemu-img, ms | qemu-img / mullion |\n| --- | ---: | ---: | ---: |")
        ratios = [show(name, measure(ours, theirs, arguments.rounds)) for name, ours, theirs in rows(vhd)]
        ratios.append(show("merge 128 MiB (qemu-img: qcow2)", merge_row(vhd, min(arguments.rounds, 3))))
        os.chdir("/")
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    print(f"| geometric mean | | | **{mean:.2f}** |\n\nslower than qemu-img: {sum(ratio < 1 for ratio in ratios)}")


sys.exit(main())
