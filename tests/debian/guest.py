"""guest - an unmodified Debian in mullion, driven through its serial console and control socket"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import HANG_SECONDS, Terminal, argument, check, excerpt, run

# What no Linux should have to say of its devices.
UNWANTED = re.compile(
    r"(hv_\w+|storvsc|hyperv\w*).*(fail|error|warn|unable|invalid|timed? ?out|unknown)"
    r"|unchecked MSR|WARNING:|BUG:|Call Trace|I/O error|blocked for more than", re.IGNORECASE)

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def image_folder():
    """The folder with disk.vhd, vmlinuz, initrd.img and cmdline; built at the first call."""
    environment = dict(os.environ, MULLION=argument("mullion"))
    done = subprocess.run([os.path.join(TOP, "scripts/guest-debian")], check=True,
                          stdout=subprocess.PIPE, text=True, env=environment)
    return done.stdout.strip().splitlines()[-1]


def until(condition, what):
    """Poll a function of no arguments until it returns something true; return that."""
    end = time.monotonic() + HANG_SECONDS
    while True:
        value = condition()
        if value:
            return value
        check(time.monotonic() < end, f"never came: {what}")
        time.sleep(0.2)


def number_argument(name, default):
    """The number after --name on this test's own command line, if it is there."""
    return int(argument(name)) if f"--{name}" in sys.argv else default


class Debian:
    """One run of it, on a disk of its own that is thrown away; use it in a with statement."""

    def __init__(self, cpus=2, disk=None, extra=(), append="", memory="1G"):
        self.folder = tempfile.mkdtemp(prefix="mullion-debian-")
        self.image = image_folder()
        self.disk = disk or self.child_disk()
        self.socket = os.path.join(self.folder, "control")
        with open(os.path.join(self.image, "cmdline"), encoding="ascii") as file:
            command_line = f"{file.read().strip()} {append}"
        self.command = [argument("mullion"), "run", "--accel", argument("accel"),
                        "--kernel", os.path.join(self.image, "vmlinuz"),
                        "--initrd", os.path.join(self.image, "initrd.img"),
                        "--append", command_line, "--memory", memory, "--cpus", str(cpus),
                        "--disk", self.disk, "--control", self.socket, *extra]
        self.terminal = None
        self.commands = 0

    def child_disk(self, path=None):
        """A differencing disk on the image: made in no time, and the image stays as it is."""
        path = path or os.path.join(self.folder, "disk.vhd")
        done = run([argument("mullion"), "vhd", "create", path, "--format", "vhd-differencing",
                    "--parent", os.path.join(self.image, "disk.vhd")])
        check(done.status == 0, f"no differencing disk: {done.describe()}")
        return path

    def __enter__(self):
        self.terminal = Terminal(self.command)
        self.terminal.__enter__()
        return self

    def __exit__(self, *_):
        self.terminal.__exit__()
        shutil.rmtree(self.folder)

    def start_shell(self):
        """The shell of a guest that was booted with init=/bin/bash, in much less time."""
        self.terminal.wait_for("/# ")
        self.terminal.type(b"exec env TERM=dumb PS1= sh\n")
        self.shell("stty -echo cols 500; dmesg -n 1")

    def log_in(self):
        self.terminal.wait_for("debian login:")
        self.terminal.type(b"root\n")
        self.terminal.wait_for("Password:")
        self.terminal.type(b"root\n")
        self.terminal.wait_for("root@debian:~#")
        self.terminal.type(b"exec env TERM=dumb PS1= sh\n")
        self.shell("stty -echo cols 500; dmesg -n 1")

    def shell(self, command, wanted=0):
        """Run it in the guest's shell; return what it prints. Lines may be long, not binary."""
        self.commands += 1
        number = self.commands
        self.terminal.type(f"{command}; printf '\\nend-%d:%d\\n' {number} $?\n".encode())
        self.terminal.wait_for(f"\nend-{number}:")
        self.terminal.wait_for_line_end(f"\nend-{number}:")
        text = self.terminal.text()
        end = text.rindex(f"\nend-{number}:")
        start = text.rfind(f"end-{number - 1}:", 0, end)
        output = text[text.find("\n", start) + 1:end + 1]
        status = int(re.match(r"\nend-\d+:(\d+)", text[end:]).group(1))
        check(wanted is None or status == wanted,
              f"'{command}' in the guest ended with {status}:\n{excerpt(output)}")
        return output

    def check_messages(self):
        bad = [line for line in self.shell("dmesg").splitlines() if UNWANTED.search(line)]
        check(not bad, "dmesg has:\n" + "\n".join(bad))

    def ctl(self, *words, wanted=0):
        """mullion ctl; the answer as JSON gives it."""
        done = run([argument("mullion"), "ctl", "--json", self.socket, *words])
        check(done.status == wanted, f"ctl {' '.join(words)}: {done.describe()}")
        return json.loads(done.output) if done.output.strip() else None

    def power_off(self):
        self.terminal.type(b"poweroff\n")
        status = self.terminal.wait_end()
        check(status == 0, f"ended with {status}:\n{excerpt(self.terminal.text())}")
