"""harness - run mullion as a user would, from a pipe or on a terminal, and report in TAP

Every end-to-end test is a table of cases and a function that runs one of them. A case fails by
raising Failure with a sentence that says what was seen; report() turns that into TAP.
"""
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time

HANG_SECONDS = 600  # for what never ends; no test judges how long anything takes

# Without it Linux panics when it misses a few ticks of the PIT in a row while it starts. It only
# looks at all when it could not measure the TSC, which is when a busy host keeps it waiting.
LINUX_ARGUMENTS = "console=ttyS0 panic=-1 no_timer_check"


class Failure(Exception):
    """What was wrong, for a person to read."""


def check(condition, message):
    if not condition:
        raise Failure(message)


def report(cases, run_case):
    """Run every (name, case) of a table; print TAP; return the exit status."""
    print(f"1..{len(cases)}", flush=True)
    failed = 0
    for number, (name, case) in enumerate(cases, 1):
        try:
            run_case(case)
            print(f"ok {number} - {name}", flush=True)
        except Failure as failure:
            failed += 1
            print(f"not ok {number} - {name}")
            for line in str(failure).splitlines():
                print(f"# {line[:300]}", flush=True)
    return 1 if failed else 0


def excerpt(text, lines=25):
    return "\n".join(text.splitlines()[-lines:])


class Finished:
    """What a run left behind: its exit status and what it printed."""

    def __init__(self, status, output, errors):
        self.status, self.output, self.errors = status, output, errors

    def describe(self):
        return (f"status {self.status}\nstdout ends:\n{excerpt(self.output)}\n"
                f"stderr ends:\n{excerpt(self.errors)}")


def run(command, timeout=HANG_SECONDS, stdin=b""):
    """Run to its end with pipes for all three streams; a time-out is a Failure."""
    try:
        done = subprocess.run(command, input=stdin, timeout=timeout, capture_output=True)
    except subprocess.TimeoutExpired as expired:
        output = (expired.stdout or b"").decode(errors="replace")
        raise Failure(f"still running after {timeout} s: {' '.join(command)}\n"
                      f"stdout ends:\n{excerpt(output)}") from None
    return Finished(done.returncode, done.stdout.decode(errors="replace"),
                    done.stderr.decode(errors="replace"))


def expect_status(finished, wanted):
    """wanted: a status, or a tuple of those that will do."""
    statuses = wanted if isinstance(wanted, tuple) else (wanted,)
    check(finished.status in statuses, f"wanted status {wanted}, got {finished.describe()}")


def expect_match(pattern, text, what):
    check(re.search(pattern, text, re.MULTILINE),
          f"nothing in {what} matches /{pattern}/:\n{excerpt(text)}")


class Terminal:
    """A program on a pseudo-terminal of its own, as its session's controlling terminal."""

    def __init__(self, command):
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.seen = b""
        self.process = subprocess.Popen(command, stdin=self.slave, stdout=self.slave,
                                        stderr=self.slave, start_new_session=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.slave)
        os.close(self.master)

    def text(self):
        return self.seen.decode(errors="replace").replace("\r\n", "\n")

    def _read_some(self, seconds):
        """Return whether anything was there to read."""
        ready, _, _ = select.select([self.master], [], [], seconds)
        if ready:
            self.seen += os.read(self.master, 65536)
        return bool(ready)

    def wait_for(self, words):
        end = time.monotonic() + HANG_SECONDS
        while words not in self.text():
            ended = self.process.poll() is not None
            came = self._read_some(0.1)
            check((came or not ended) and time.monotonic() < end,
                  f"'{words}' never came; the terminal shows:\n{excerpt(self.text())}")

    def wait_for_more(self):
        """Wait until the program prints anything at all."""
        end = time.monotonic() + HANG_SECONDS
        while not self._read_some(0.1):
            check(self.process.poll() is None and time.monotonic() < end,
                  f"nothing more came; the terminal shows:\n{excerpt(self.text())}")

    def wait_seconds(self, seconds):
        """Read on for that time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._read_some(max(0, end - time.monotonic()))

    def wait_for_line_end(self, words):
        """Wait until the line that begins with the last @words is whole."""
        end = time.monotonic() + HANG_SECONDS
        while "\n" not in self.text().rsplit(words, 1)[1]:
            self._read_some(0.1)
            check(time.monotonic() < end, f"the line after '{words}' never ended")

    def type(self, keys):
        os.write(self.master, keys)

    def signal(self, number):
        self.process.send_signal(number)

    def is_raw(self):
        return not termios.tcgetattr(self.slave)[3] & (termios.ICANON | termios.ECHO)

    def wait_end(self):
        """Read on until the program ends; return its status as subprocess gives it."""
        end = time.monotonic() + HANG_SECONDS
        while self.process.poll() is None:
            check(time.monotonic() < end, f"still running after {HANG_SECONDS} s; "
                  f"the terminal shows:\n{excerpt(self.text())}")
            self._read_some(0.05)
        while self._read_some(0):
            pass
        return self.process.returncode

    def expect_restored(self):
        after = termios.tcgetattr(self.slave)
        check(after == self.before, f"terminal attributes were {self.before}, now {after}")


def argument(name):
    """The value after --name on this test's own command line."""
    return sys.argv[sys.argv.index(f"--{name}") + 1]
