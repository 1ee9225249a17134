"""shell_test - commands piped into the guest's shell, and its own ways to end

usage: shell_test.py --mullion PROGRAM --accel ENGINE --initrd FILE
"""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import LINUX_ARGUMENTS, argument, expect_match, expect_status, report, run

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def run_case(word):
    kernel = subprocess.run([os.path.join(TOP, "scripts/guest-kernel"), "cloud"], check=True,
                            stdout=subprocess.PIPE, text=True).stdout.strip()
    finished = run([argument("mullion"), "run", "--accel", argument("accel"), "--kernel", kernel,
                    "--initrd", argument("initrd"), "--append", LINUX_ARGUMENTS + " quiet",
                    "--cpus", "2", "--no-reboot"],
                   stdin=f"echo hello-$((40+2))\n{word}\n".encode())
    expect_status(finished, 0)
    expect_match("hello-42", finished.output, "the shell's answer")


sys.exit(report([(f"a piped '{word}' ends the guest", word)
        for word in ("poweroff", "reboot", "exit")], run_case))
