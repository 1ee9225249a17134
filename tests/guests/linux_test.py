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
from harness import HANG_SECONDS, LINUX_ARGUMENTS, Failure, argument, check, excerpt, report

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def kernel(flavour):
    path = subprocess.run([os.path.join(TOP, "scripts/guest-kernel"), flavour], check=True,
                          stdout=subprocess.PIPE, text=True)
    return path.stdout.strip()


class Guest:
    """A boot: its lines as they come, and its answers."""

    def __init__(self, process):
        self.process, self.lines = process, []

    def output(self):
        for line in self.process.stdout:
            self.lines.append(line.decode(errors="replace").rstrip())
            yield self.lines[-1]

    def type(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def ask_time(self):
        """The guest's clock, and the host's before the question and after the answer."""
        asked = time.monotonic()
        self.type("clock")
        for line in self.output():
            if line.startswith("MULLION-CLOCK "):
                return float(line.split()[1]), asked, time.monotonic()
        raise Failure(f"no answer to 'clock':\n{excerpt(chr(10).join(self.lines))}")


def compare_clocks(guest):
    """Guest time and host time go by alike.

    The guest read its clock at some moment between question and answer. A busy host only makes
    that span longer, so the pause goes on until both spans together are an eighth of it.
    """
    start, start_asked, start_answered = guest.ask_time()
    while True:
        time.sleep(2)
        end, asked, answered = guest.ask_time()
        least, most, passed = asked - start_answered, answered - start_asked, end - start
        slack = 0.02 + 0.01 * most  # the guest counts in hundredths
        check(least - slack <= passed <= most + slack,
              f"{passed:.2f} s in the guest took {least:.2f} to {most:.2f} s on the host")
        if most - least <= passed / 8:
            return


def boot(kernel_path, cpus):
    """Boot once; return (status, lines)."""
    command = ["timeout", "--kill-after=5", str(HANG_SECONDS),
               argument("mullion"), "run", "--accel", argument("accel"),
               "--kernel", kernel_path, "--initrd", argument("initrd"),
               "--append", f"{LINUX_ARGUMENTS} mullion.mode=test mullion.cpus={cpus}",
               "--memory", "512M", "--cpus", str(cpus), "--no-reboot"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as process:
        guest = Guest(process)
        try:
            for line in guest.output():
                if line == "MULLION-CLOCK-READY":
                    compare_clocks(guest)
                    guest.type("end")
        except BaseException:
            process.terminate()
            raise
    return process.returncode, guest.lines


def check_boot(status, lines, cpus):
    text = "\n".join(lines)
    check(status != 124, f"still running after {HANG_SECONDS} s; it ends:\n{excerpt(text)}")
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


def run_case(case):
    kernel_path, cpus = case
    start = time.monotonic()
    try:
        status, lines = boot(kernel_path, cpus)
        check_boot(status, lines, cpus)
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
