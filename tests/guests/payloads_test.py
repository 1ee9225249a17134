"""payloads_test - small multiboot kernels, well-behaved and hostile, each to its known end

usage: payloads_test.py --mullion PROGRAM --payloads DIR --accel ENGINE
"""
import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import argument, check, expect_match, expect_status, report, run, Terminal

MODULE = b"a module's text"
CRASHED = 9
# No processor defines what it fetches there: an engine may see faults, or say that it cannot go on.
CRASHED_OR_GAVE_UP = (1, CRASHED)
DEBUG_EXIT_0X10 = 0x10 << 1 | 1

# name, payload, further arguments, standard input, status, patterns for stdout, for stderr
CASES = [
    ("a payload gets its memory map and command line, and ends through the debug exit",
     "hello", ["--append", "some words", "--memory", "64M"], b"", DEBUG_EXIT_0X10,
     ["^hello from a multiboot kernel", "^magic=2badb002", "^mem_upper_kib=0000f[bc]",
      "^modules=00000000", "^command=.*some words"], []),
    ("a payload gets its module", "hello", ["--initrd", "@module"], b"", DEBUG_EXIT_0X10,
     ["^modules=00000001", MODULE.decode()], []),
    ("the last of 4 GiB of memory does not overlap devices",
     "hello", ["--memory", "4G"], b"", DEBUG_EXIT_0X10, ["^magic=2badb002"], []),
    ("standard input from a pipe reaches the serial port", "echo", [], b"abcxyzq", 3 << 1 | 1,
     ["^ready", "^ABCXYZ"], []),
    ("a triple fault is a crash that names VP, RIP and exception",
     "triple_fault", [], b"", CRASHED, ["^about to fault"],
     [r"[Tt]riple fault", r"VP ?0", r"RIP", r"CR2"]),
    ("a jump to where there is no memory ends the run and is reported", "jump_nowhere", [], b"",
     CRASHED_OR_GAVE_UP, ["^about to jump"], [r"VP ?0", r"RIP (0x)?0*d0000000"]),
    ("a jump to an unmapped page is a crash with CR2", "jump_unmapped", [], b"", CRASHED,
     ["^about to jump"], [r"[Tt]riple fault", r"(?i)CR2[ =:]*(0x)?0*12345678"]),
    ("an unmapped stack is a crash with CR2", "unmapped_stack", [], b"", CRASHED,
     ["^about to push"], [r"[Tt]riple fault", r"(?i)CR2[ =:]*(0x)?0*3ffffff[0-9a-f]"]),
    ("a guest that overwrites its page tables is a crash", "page_tables", [], b"", CRASHED,
     ["^about to overwrite"], [r"[Tt]riple fault"]),
    ("a reset with --no-reboot ends the run", "reset", ["--no-reboot"], b"", 0,
     ["^resetting"], []),
]


def command_for(payload, arguments):
    return [argument("mullion"), "run", "--accel", argument("accel"),
            "--kernel", os.path.join(argument("payloads"), payload),
            "--debug-exit", "0xf4"] + arguments


def run_case(case):
    payload, arguments, stdin, status, in_output, in_errors = case
    with tempfile.NamedTemporaryFile() as module:
        module.write(MODULE)
        module.flush()
        arguments = [module.name if word == "@module" else word for word in arguments]
        finished = run(command_for(payload, arguments), stdin=stdin)
    expect_status(finished, status)
    for pattern in in_output:
        expect_match(pattern, finished.output, "stdout")
    for pattern in in_errors:
        expect_match(pattern, finished.errors, "stderr")


def reboots_until_told_to_stop(_):
    with Terminal(command_for("reset", [])) as terminal:
        terminal.wait_for("resetting\nresetting\nresetting")
        terminal.type(b"\x1dq")
        terminal.wait_end()


def traces_exceptions(_):
    """What leads to the triple fault, in its order: no interrupt table takes any of these."""
    finished = run(command_for("triple_fault", ["--trace", "exceptions"]))
    expect_status(finished, CRASHED)
    lines = [line for line in finished.errors.splitlines() if line.startswith("vp 0: exception")]
    wanted = [r"6 \(#UD\), rip", r"13 \(#GP\), error 0x33, rip", r"8 \(#DF\), error 0, rip"]
    check(len(lines) == len(wanted), f"wanted {len(wanted)} exceptions:\n{finished.errors}")
    for line, pattern in zip(lines, wanted):
        expect_match(rf"^vp 0: exception {pattern} 0x1[0-9a-f]+, cpl 0$", line, "the trace")


def main():
    check(os.path.isdir(argument("payloads")), "no payloads")
    table = [(row[0], lambda row=row: run_case(row[1:])) for row in CASES]
    table.append(("without --no-reboot a reset starts the payload again",
                  lambda: reboots_until_told_to_stop(None)))
    if argument("accel") == "dbt":
        table.append(("--trace exceptions shows what led to a triple fault",
                      lambda: traces_exceptions(None)))
    return report(table, lambda case: case())


sys.exit(main())
