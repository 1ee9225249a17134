"""terminal_test - the terminal is raw while a guest has it, and as it was afterwards

usage: terminal_test.py --mullion PROGRAM --payloads DIR
"""
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import HANG_SECONDS, Terminal, argument, check, report

QUIT = b"\x1dq"


def start(payload, *more):
    return Terminal([argument("mullion"), "run", "--accel", "dbt", "--debug-exit", "0xf4",
                     "--kernel", os.path.join(argument("payloads"), payload), *more])


def wait_raw(terminal):
    end = time.monotonic() + HANG_SECONDS
    while not terminal.is_raw():
        check(time.monotonic() < end, "the terminal never became raw")
        time.sleep(0.02)


def quit_a_running_guest(payload, words):
    with start(payload) as terminal:
        terminal.wait_for(words)
        wait_raw(terminal)
        terminal.type(QUIT)
        status = terminal.wait_end()
        check(status == 0, f"Ctrl-] q gave status {status}")
        terminal.expect_restored()


def sigterm_restores():
    with start("spin") as terminal:
        terminal.wait_for("spinning")
        wait_raw(terminal)
        terminal.signal(signal.SIGTERM)
        status = terminal.wait_end()
        check(status == 1, f"a run ended by a signal has failed (1), got {status}")
        terminal.expect_restored()


def keys_reach_the_guest():
    """Everything but Ctrl-] goes through, Ctrl-C too; Ctrl-] twice sends one."""
    with start("echo") as terminal:
        terminal.wait_for("ready")
        wait_raw(terminal)
        terminal.type(b"ab\x03\x1d\x1dc")
        terminal.wait_for("AB\x03\x1dC")
        terminal.type(b"q")
        check(terminal.wait_end() == 3 << 1 | 1, "the debug exit's status was lost")
        terminal.expect_restored()


def guest_end_restores():
    with start("hello") as terminal:
        terminal.wait_end()
        terminal.expect_restored()


def crash_restores():
    with start("triple_fault") as terminal:
        check(terminal.wait_end() == 9, "a triple fault must end with 9")
        terminal.expect_restored()


def bad_input_leaves_it_alone():
    with start("hello", "--cpus", "0") as terminal:
        check(terminal.wait_end() == 2, "--cpus 0 must end with 2")
        terminal.expect_restored()


CASES = [
    ("Ctrl-] q ends a guest that spins with interrupts off",
     lambda: quit_a_running_guest("spin", "spinning")),
    ("Ctrl-] q ends a guest that halted with interrupts off",
     lambda: quit_a_running_guest("halt", "halting")),
    ("Ctrl-] q ends a guest that polls", lambda: quit_a_running_guest("echo", "ready")),
    ("SIGTERM ends the run and restores the terminal", sigterm_restores),
    ("keys reach the guest", keys_reach_the_guest),
    ("the terminal is restored when the guest ends the run", guest_end_restores),
    ("the terminal is restored when the guest crashes", crash_restores),
    ("the terminal is left alone on a usage error", bad_input_leaves_it_alone),
]

sys.exit(report(CASES, lambda case: case()))
