"""linux_test - boot Debian's stock kernel to init and run the guest's own checks

usage: linux_test.py --mullion PROGRAM --accel ENGINE --flavour cloud|generic --cpus N
                     --initrd FILE [--times N]

The guest (tests/guests/init in its test mode) checks itself and says so; this side checks that
the run ended with status 0, that every processor came up, and that guest time is host time.
"""
import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import Failure, argument, check, excerpt, report

TIMEOUT = 240
TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def kernel(flavour):
    path = subprocess.run([os.path.join(TOP, "scripts/guest-kernel"), flavour], check=True,
                          stdout=subprocess.PIPE, text=True)
    return path.stdout.strip()


def boot(kernel_path, cpus):
    """Boot once; return (status, lines, host seconds at which each line came)."""
    command = ["timeout", "--kill-after=5", str(TIMEOUT),
               argument("mullion"), "run", "--accel", argument("accel"),
               "--kernel", kernel_path, "--initrd", argument("initrd"),
               "--append", f"console=ttyS0 panic=-1 mullion.mode=test mullion.cpus={cpus}",
               "--memory", "512M", "--cpus", str(cpus), "--no-reboot"]
    lines, times = [], []
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as process:
        for line in process.stdout:
            lines.append(line.decode(errors="replace").rstrip())
            times.append(time.monotonic())
    return process.returncode, lines, times


CLOCK_LINES = 5  # before and after the pause


def check_clock(lines, times):
    """Over a pause of two seconds, guest time and host time agree to a quarter second.

    A busy host reads a line late, never early: of several lines, the one that seems to have come
    soonest after it was written counts.
    """
    marks = [(float(line.split()[1]), when) for line, when in zip(lines, times)
             if line.startswith("MULLION-CLOCK ")]
    check(len(marks) == 2 * CLOCK_LINES, f"{len(marks)} clock lines, wanted {2 * CLOCK_LINES}")
    before, after = (min(part, key=lambda mark: mark[1] - mark[0])
                     for part in (marks[:CLOCK_LINES], marks[CLOCK_LINES:]))
    guest, host = after[0] - before[0], after[1] - before[1]
    check(abs(guest - host) < 0.25, f"{guest:.2f} s in the guest took {host:.2f} s on the host")


def check_boot(status, lines, times, cpus):
    text = "\n".join(lines)
    check(status != 124, f"still running after {TIMEOUT} s; it ends:\n{excerpt(text)}")
    check(f"MULLION-GUEST-OK cpus={cpus}" in lines,
          f"init did not come up with {cpus} processors (status {status}):\n{excerpt(text)}")
    failed = [line for line in lines if line.startswith("FAIL ")]
    check(not failed, "\n".join(failed))
    done = re.search(r"^MULLION-GUEST-DONE passed=(\d+) failed=0$", text, re.MULTILINE)
    check(done and int(done.group(1)) >= 11,
          f"the guest's checks did not all run (status {status}):\n{excerpt(text)}")
    for trouble in ("Call Trace:", "soft lockup", "rcu_preempt detected stalls", "Oops"):
        check(trouble not in text, f"the kernel reported '{trouble}':\n{excerpt(text, 60)}")
    check(status == 0, f"wanted status 0 after power-off, got {status}:\n{excerpt(text)}")
    check_clock(lines, times)


def run_case(case):
    kernel_path, cpus = case
    start = time.monotonic()
    try:
        status, lines, times = boot(kernel_path, cpus)
        check_boot(status, lines, times, cpus)
    finally:
        print(f"# {time.monotonic() - start:.1f} s", flush=True)


def main():
    cpus, flavour = int(argument("cpus")), argument("flavour")
    times = int(argument("times")) if "--times" in sys.argv else 1
    try:
        kernel_path = kernel(flavour)
    except subprocess.CalledProcessError:
        raise Failure(f"cannot obtain the {flavour} kernel") from None
    name = f"{flavour} kernel with {cpus} VP(s) reaches init, passes its checks, powers off"
    return report([(name, (kernel_path, cpus))] * times, run_case)


sys.exit(main())
