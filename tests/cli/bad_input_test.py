"""bad_input_test - every mistake gets one clear line, the right exit status, and no crash

usage: bad_input_test.py --mullion PROGRAM --payloads DIR
"""
import os
import re
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import argument, check, expect_status, report, run

FAILED, USAGE, HOST_CANNOT = 1, 2, 8

# name, arguments after "mullion run", status, pattern for the one line of stderr.
# @NAME stands for a file of FILES, @payload for a kernel that would run.
CASES = [
    ("no kernel at all", [], USAGE, r"--kernel"),
    ("a kernel that is not there", ["--kernel", "/nonexistent/kernel"], FAILED,
     r"--kernel.*/nonexistent/kernel.*No such file"),
    ("a kernel that is a folder", ["--kernel", "/tmp"], FAILED, r"--kernel.*/tmp.*"),
    ("a kernel that is a device", ["--kernel", "/dev/zero"], FAILED, r"--kernel.*/dev/zero"),
    ("an empty kernel", ["--kernel", "@empty"], FAILED, r"--kernel.*empty"),
    ("a kernel that is a text", ["--kernel", "@text"], FAILED, r"--kernel.*text"),
    ("a bzImage cut off in its header", ["--kernel", "@bzimage_header"], FAILED,
     r"--kernel.*bzimage_header"),
    ("an ELF file cut off in its header", ["--kernel", "@elf_header"], FAILED,
     r"--kernel.*elf_header"),
    ("an ELF file cut off in its segments", ["--kernel", "@elf_segments"], FAILED,
     r"--kernel.*elf_segments"),
    ("an ELF file for another processor", ["--kernel", "@elf_arm"], FAILED, r"--kernel.*elf_arm"),
    ("an ELF file without a boot protocol", ["--kernel", "/proc/self/exe"], FAILED, r"--kernel"),
    ("a kernel that does not fit in memory", ["--kernel", "@payload", "--memory", "1M"], FAILED,
     r"--(kernel|memory)"),
    ("an initrd that is not there", ["--kernel", "@payload", "--initrd", "/nonexistent/initrd"],
     FAILED, r"--initrd.*/nonexistent/initrd.*No such file"),
    ("an initrd that does not fit", ["--kernel", "@payload", "--initrd", "@large", "--memory",
                                     "32M"], FAILED, r"--initrd.*large"),
    ("no memory", ["--kernel", "@payload", "--memory", "0"], USAGE, r"--memory.*\b0\b"),
    ("memory that is not a number", ["--kernel", "@payload", "--memory", "lots"], USAGE,
     r"--memory.*lots"),
    ("memory with an unknown suffix", ["--kernel", "@payload", "--memory", "64Q"], USAGE,
     r"--memory.*64Q"),
    ("negative memory", ["--kernel", "@payload", "--memory", "-5M"], USAGE, r"--memory.*-5M"),
    ("memory past 64 bits", ["--kernel", "@payload", "--memory", "99999999999999999999G"], USAGE,
     r"--memory.*99999999999999999999G"),
    ("more memory than the host has", ["--kernel", "@payload", "--memory", "8000G"],
     (FAILED, HOST_CANNOT), r"--memory.*8000G"),
    ("no processors", ["--kernel", "@payload", "--cpus", "0"], USAGE, r"--cpus.*\b0\b"),
    ("a thousand processors", ["--kernel", "@payload", "--cpus", "1000"], USAGE,
     r"--cpus.*\b1000\b"),
    ("processors that are not a number", ["--kernel", "@payload", "--cpus", "two"], USAGE,
     r"--cpus.*two"),
    ("an unknown engine", ["--kernel", "@payload", "--accel", "warp"], USAGE, r"--accel.*warp"),
    ("a debug-exit port out of range", ["--kernel", "@payload", "--debug-exit", "0x10000"], USAGE,
     r"--debug-exit.*0x10000"),
    ("a debug-exit port that is not a number", ["--kernel", "@payload", "--debug-exit", "x"],
     USAGE, r"--debug-exit.*x"),
    ("an unknown kind of serial port", ["--kernel", "@payload", "--serial", "smoke"], USAGE,
     r"--serial.*smoke"),
    ("a serial file that cannot be made",
     ["--kernel", "@payload", "--serial", "file:/nonexistent/log"], FAILED,
     r"--serial.*/nonexistent/log.*No such file"),
    ("an unknown trace", ["--kernel", "@payload", "--trace", "everything-else"], USAGE,
     r"--trace.*everything-else"),
    ("a command line that is too long", ["--kernel", "@payload", "--append", "x" * 100000],
     (FAILED, USAGE), r"--append"),
    ("an unknown option", ["--kernel", "@payload", "--frobnicate"], USAGE, r"--frobnicate"),
    ("an option without its value", ["--kernel"], USAGE, r"--kernel"),
    ("a word too many", ["--kernel", "@payload", "surplus"], USAGE, r"surplus"),
]


def elf(machine, size):
    """A 64-bit ELF header for a machine, with one segment that claims 1 MiB of file."""
    header = bytearray(120)
    header[0:20] = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00" + machine.to_bytes(2, "little")
    header[20:24] = (1).to_bytes(4, "little")
    header[24:40] = (0x100000).to_bytes(8, "little") + (64).to_bytes(8, "little")
    header[52:58] = (64).to_bytes(2, "little") + (56).to_bytes(2, "little") + b"\x01\x00"
    header[64:68] = (1).to_bytes(4, "little")
    header[96:104] = header[104:112] = (1 << 20).to_bytes(8, "little")
    return bytes(header[:size])


def bzimage_header():
    header = bytearray(1024)
    header[0x1f1] = 40
    header[0x1fe:0x206] = b"\x55\xaa\xeb\x66HdrS"
    header[0x206:0x208] = (0x20f).to_bytes(2, "little")
    return bytes(header)


FILES = {
    "empty": b"",
    "text": b"this is no kernel\n" * 100,
    "bzimage_header": bzimage_header(),
    "elf_header": elf(62, 40),
    "elf_segments": elf(62, 120),
    "elf_arm": elf(183, 120),
    "large": bytes(48 << 20),
}


def expand(word, folder):
    if word == "@payload":
        return os.path.join(argument("payloads"), "hello")
    return os.path.join(folder, word[1:]) if word.startswith("@") else word


def run_case(case, folder):
    words, statuses, pattern = case
    finished = run([argument("mullion"), "run"] + [expand(word, folder) for word in words])
    expect_status(finished, statuses)
    check(finished.output == "", f"stdout is not empty:\n{finished.output}")
    lines = finished.errors.splitlines()
    check(len(lines) == 1, f"wanted one line on stderr, got {len(lines)}:\n{finished.errors}")
    check(re.search(pattern, lines[0]), f"/{pattern}/ does not match: {lines[0][:200]}")


def main():
    with tempfile.TemporaryDirectory() as folder:
        for name, data in FILES.items():
            with open(os.path.join(folder, name), "wb") as file:
                file.write(data)
        return report([(row[0], row[1:]) for row in CASES],
                      lambda case: run_case(case, folder))


sys.exit(main())
