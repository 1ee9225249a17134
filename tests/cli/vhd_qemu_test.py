"""vhd_qemu_test - `mullion vhd` and qemu-img on the same images: they read the same

usage: vhd_qemu_test.py --mullion PROGRAM
"""
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import argument, check, expect_match, expect_status, report, run

MIB = 1 << 20
QEMU_FORMATS = {"raw": "raw", "vhd-fixed": "vpc", "vhd-dynamic": "vpc", "vhdx-fixed": "vhdx", "vhdx-dynamic": "vhdx"}
# Format, block size; None: the usual one.
IMAGES = [("raw", None), ("vhd-fixed", None), ("vhd-dynamic", None), ("vhd-dynamic", "512K"), ("vhd-dynamic", "8M"),
          ("vhdx-fixed", None), ("vhdx-dynamic", "1M"), ("vhdx-dynamic", None)]
# The last has half a block, and half a cluster of anything else, at its end.
SIZES = [MIB, 24 * MIB, 33 * MIB + 4096 + 512]


def vhd(*words, **more):
    return run([argument("mullion"), "vhd", *words], **more)


def qemu(*words):
    finished = subprocess.run(["qemu-img", *words], capture_output=True, text=True, timeout=60, check=False)
    return finished.returncode, finished.stdout + finished.stderr


def write_sparse(path, size, seed):
    """Stretches of data, of zeros that were written, and holes, at any sector."""
    dice = random.Random(seed)
    with open(path, "wb") as file:
        for _ in range(12):
            at = dice.randrange(size // 512) * 512
            length = min(dice.choice([512, 4096, 65536, 700 * 1024]), size - at)
            file.seek(at)
            file.write(dice.randbytes(length) if dice.random() < .7 else bytes(length))
        file.truncate(size)


def contents(path):
    with open(path, "rb") as file:
        return file.read()


def in_folder(test):
    def wrapped():
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                test()
            finally:
                os.chdir("/")
    wrapped.__name__ = test.__name__
    return wrapped


def each_image():
    for size in SIZES:
        write_sparse("a.raw", size, size)
        for number, (name, block) in enumerate(IMAGES):
            words = ["--block-size", block] if block else []
            image = f"{number}.image"
            expect_status(vhd("convert", "a.raw", image, "--format", name, *words), 0)
            yield f"{name} {block} {size}", name, image, size
            os.unlink(image)


@in_folder
def qemu_reads_what_is_converted_here():
    for what, name, image, size in each_image():
        status, text = qemu("compare", "-f", "raw", "-F", QEMU_FORMATS[name], "a.raw", image)
        check(status == 0, f"{what}: {text}")
        status, text = qemu("info", "-f", QEMU_FORMATS[name], "--output=json", image)
        check(json.loads(text)["virtual-size"] == size, f"{what}: {text}")
        info = json.loads(vhd("info", image, "--json").output)
        check(info["bytes"] == size and info["format"] == name, f"{what}: {info}")


@in_folder
def what_qemu_converts_reads_the_same_here():
    for size in SIZES:
        write_sparse("a.raw", size, size + 1)
        for words in (["vpc", "-o", "force_size=on"], ["vpc", "-o", "subformat=fixed,force_size=on"], ["vhdx"],
                      ["vmdk"], ["qcow2"]):
            check(qemu("convert", "-O", *words, "a.raw", "q.image")[0] == 0, str(words))
            expect_status(vhd("compare", "a.raw", "q.image"), 0)
            expect_status(vhd("convert", "q.image", "back.raw"), 0)
            back = contents("back.raw")
            check(back[:size] == contents("a.raw") and not any(back[size:]), f"{words} {size}: the bytes differ")
            os.unlink("back.raw")
            os.unlink("q.image")


@in_folder
def a_map_covers_the_disk_and_says_where_data_are():
    for what, _, image, size in each_image():
        extents = json.loads(vhd("map", image, "--json").output)["extents"]
        at = 0
        file, disk = contents(image), contents("a.raw")
        for extent in extents:
            check(extent["offset"] == at, f"{what}: a gap at {at}")
            end = at + extent["bytes"]
            if "file_offset" in extent:
                there = extent["file_offset"]
                check(file[there:there + extent["bytes"]] == disk[at:end], f"{what}: {extent}")
            else:
                check(not any(disk[at:end]), f"{what}: {extent} is no zeros")
            at = end
        check(at == size, f"{what}: the map ends at {at}")


@in_folder
def the_first_difference_is_found():
    write_sparse("a.raw", SIZES[1], 5)
    for offset in (0, 511, 7 * MIB + 3, SIZES[1] - 1):
        data = bytearray(contents("a.raw"))
        data[offset] ^= 1
        data[-1] ^= 2
        with open("b.raw", "wb") as file:
            file.write(data)
        finished = vhd("compare", "a.raw", "b.raw", "--json")
        expect_status(finished, 3)
        check(json.loads(finished.output)["first_difference"] == offset, finished.output)


@in_folder
def a_longer_disk_is_equal_if_the_rest_is_zeros():
    write_sparse("a.raw", SIZES[1], 6)
    shutil.copyfile("a.raw", "b.raw")
    os.truncate("b.raw", SIZES[1] + MIB)
    expect_status(vhd("compare", "a.raw", "b.raw"), 0)
    expect_status(vhd("compare", "b.raw", "a.raw"), 0)
    with open("b.raw", "ab") as file:
        file.write(b"x")
    os.truncate("b.raw", SIZES[1] + 2 * MIB)
    finished = vhd("compare", "a.raw", "b.raw", "--json")
    check(json.loads(finished.output)["first_difference"] == SIZES[1] + MIB, finished.output)


@in_folder
def streams_go_in_and_out():
    write_sparse("a.raw", SIZES[2], 7)
    data = contents("a.raw")
    program = argument("mullion")
    for name in ("raw", "vhd-fixed"):
        out = subprocess.run([program, "vhd", "convert", "a.raw", "-", "--format", name], capture_output=True,
                             timeout=60, check=True).stdout
        check(out[:len(data)] == data and len(out) == len(data) + (512 if name == "vhd-fixed" else 0), name)
    with open("o.vhd", "wb") as file:
        file.write(out)
    check(qemu("compare", "-f", "raw", "-F", "vpc", "a.raw", "o.vhd")[0] == 0, "a streamed VHD reads otherwise")
    for words in ([], ["--size", str(len(data))]):
        given = {"input": data} if words else {"stdin": open("a.raw", "rb")}
        subprocess.run([program, "vhd", "convert", "-", "in.vhd", *words], timeout=60, check=True, **given)
        expect_status(vhd("compare", "a.raw", "in.vhd"), 0)
        os.unlink("in.vhd")
    finished = subprocess.run([program, "vhd", "convert", "-", "in.vhd", "--size", "1M"], input=data,
                              capture_output=True, timeout=60, check=False)
    check(finished.returncode == 1 and os.listdir(".").count("in.vhd") == 0, "a stream that is too long was taken")


@in_folder
def azure_gets_whole_mebibytes():
    write_sparse("a.raw", SIZES[2], 8)
    expect_status(vhd("convert", "a.raw", "a.vhd", "--azure"), 0)
    check(os.path.getsize("a.vhd") == 34 * MIB + 512, str(os.path.getsize("a.vhd")))
    expect_status(vhd("compare", "a.raw", "a.vhd"), 0)


@in_folder
def bytes_are_read_and_written_at_any_offset():
    expect_status(vhd("create", "a.vhd", "--size", "8M"), 0)
    disk = bytearray(8 * MIB)
    dice = random.Random(9)
    for _ in range(20):
        at = dice.randrange(8 * MIB)
        data = dice.randbytes(min(dice.choice([1, 511, 513, 3 * MIB]), 8 * MIB - at))
        disk[at:at + len(data)] = data
        subprocess.run([argument("mullion"), "vhd", "write", "a.vhd", "--offset", str(at), "--bytes", str(len(data))],
                       input=data, timeout=60, check=True)
    for at, count in ((0, 8 * MIB), (513, 1), (MIB - 7, 4 * MIB + 9)):
        out = subprocess.run([argument("mullion"), "vhd", "read", "a.vhd", "--offset", str(at), "--bytes", str(count)],
                             capture_output=True, timeout=60, check=True).stdout
        check(out == disk[at:at + count], f"{count} bytes at {at} differ")


@in_folder
def a_full_file_system_or_a_signal_leaves_nothing():
    with open("a.raw", "wb") as file:
        file.write(random.Random(1).randbytes(16 * MIB))
    script = "trap '' XFSZ; ulimit -f 8192; exec \"$0\" \"$@\""
    for name in ("raw", "vhd-dynamic", "vhdx-dynamic"):
        finished = run(["bash", "-c", script, argument("mullion"), "vhd", "convert", "a.raw", "b.image", "--format",
                        name])
        expect_status(finished, 1)
        expect_match(r"b\.image: ", finished.errors, "stderr")
        check(os.listdir(".") == ["a.raw"], f"{name}: {os.listdir('.')}")
    reader, writer = os.pipe()
    process = subprocess.Popen([argument("mullion"), "vhd", "convert", "-", "b.vhd", "--size", "1G"], stdin=reader,
                               stderr=subprocess.PIPE, text=True)
    # More than a pipe holds: when it is through, the conversion is under way.
    os.write(writer, bytes(MIB))
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    os.close(writer)
    os.close(reader)
    check(process.returncode == 1 and "interrupted" in errors.lower(), f"{process.returncode} {errors}")
    check(os.listdir(".") == ["a.raw"], str(os.listdir(".")))


@in_folder
def a_full_file_system_loses_nothing_in_place():
    dice = random.Random(3)
    script = "trap '' XFSZ; ulimit -f $(( ($(stat -c %s \"$1\") + 1023) / 1024 )); shift; exec \"$0\" \"$@\""
    expect_status(vhd("create", "a.vhd", "--size", "64M"), 0)
    expect_status(vhd("create", "b.vhd", "--parent", "a.vhd"), 0)
    for _ in range(12):
        subprocess.run([argument("mullion"), "vhd", "write", dice.choice(["a.vhd", "b.vhd"]), "--offset",
                        str(dice.randrange(60 * MIB)), "--bytes", "100000"], input=dice.randbytes(100000),
                       timeout=60, check=True)
    expect_status(vhd("convert", "b.vhd", "before.raw"), 0)
    shutil.copyfile("a.vhd", "old.vhd")
    expect_status(run(["bash", "-c", script, argument("mullion"), "a.vhd", "vhd", "merge", "b.vhd"]), 1)
    expect_status(vhd("compare", "b.vhd", "before.raw"), 0)
    expect_status(vhd("merge", "b.vhd"), 0)
    expect_status(vhd("compare", "a.vhd", "before.raw"), 0)
    check(not os.path.exists("b.vhd"), "the merged child is still there")
    # 1.5 TiB have a table that does not fit where it is.
    expect_status(run(["bash", "-c", script, argument("mullion"), "a.vhd", "vhd", "resize", "a.vhd", "--size",
                       "1500G"]), 1)
    expect_status(vhd("compare", "a.vhd", "before.raw"), 0)
    expect_status(vhd("resize", "a.vhd", "--size", "1500G"), 0)
    expect_status(vhd("compare", "a.vhd", "before.raw"), 0)
    check(qemu("compare", "-f", "raw", "-F", "vpc", "before.raw", "a.vhd")[0] == 0, "qemu reads it otherwise")
    expect_status(vhd("compact", "a.vhd"), 0)
    expect_status(vhd("compare", "a.vhd", "before.raw"), 0)


TESTS = [qemu_reads_what_is_converted_here, what_qemu_converts_reads_the_same_here,
         a_map_covers_the_disk_and_says_where_data_are, the_first_difference_is_found,
         a_longer_disk_is_equal_if_the_rest_is_zeros, streams_go_in_and_out, azure_gets_whole_mebibytes,
         bytes_are_read_and_written_at_any_offset, a_full_file_system_or_a_signal_leaves_nothing,
         a_full_file_system_loses_nothing_in_place]

if not shutil.which("qemu-img"):
    print("1..0 # SKIP qemu-img is missing")
    sys.exit(0)
sys.exit(report([(test.__name__.replace("_", " "), test) for test in TESTS], lambda test: test()))
