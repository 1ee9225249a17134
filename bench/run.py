#!/usr/bin/env python3
"""run - Mullion's software CPU engine against QEMU's TCG, as ratios, in one run

The same kernel, initramfs and programs run natively, on Mullion and on QEMU, in turn, for several
rounds; the fastest round of each program counts, so that a busy machine disturbs all alike. Every
program prints a checksum, which must agree everywhere. The guest's clock is compared with the
host's, so a guest whose time runs slow cannot look fast.

Exit status: 0 when the bars are met (or only some programs were asked for), 1 when one is missed
or a run failed, 2 for usage.
"""
import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TIMEOUT = 900
MEMORY = "512M"
USER_SETS = ("int", "mem", "branch", "fp", "simd")

# name of the bar, its set, geometric mean of tcg / mullion wanted, least for any one program
BARS = [
    ("user-mode programs", USER_SETS, 2.0, 1.0),
    ("floating point", ("fp",), 5.0, 1.0),
    ("kernel-heavy programs", ("kernel",), 1.0, 0.0),
    ("boot to init", ("boot",), 1.0, 0.0),
]


class Trouble(Exception):
    """A run that did not give results."""


def set_of(program):
    return program.split("_")[0]


def append_line(programs):
    return f"console=ttyS0 panic=-1 mullion.mode=bench mullion.programs={','.join(programs)}"


def mullion_command(options, images, programs):
    return [options.mullion, "run", "--accel", options.accel, "--kernel", images["kernel"],
            "--initrd", images["initrd"], "--append", append_line(programs),
            "--memory", MEMORY, "--cpus", "1", "--no-reboot"]


def qemu_command(options, images, programs):
    return [options.qemu, "-accel", "tcg", "-cpu", "max", "-M", "q35", "-nodefaults",
            "-display", "none", "-serial", "stdio", "-no-reboot", "-m", MEMORY, "-smp", "1",
            "-kernel", images["kernel"], "-initrd", images["initrd"],
            "-append", append_line(programs)]


def read_results(name, lines):
    """{program: (seconds, checksum)} of the BENCH lines; a failed program is trouble."""
    results = {}
    for line in lines:
        words = line.split()
        if len(words) < 3 or words[0] != "BENCH" or words[2] == "skip":
            continue
        if len(words) != 4 or words[2] == "failed":
            raise Trouble(f"{name}: {line}")
        results[words[1]] = (float(words[2]), words[3])
    return results


def run_native(options, programs):
    done = subprocess.run([options.programs_from] + programs, stdout=subprocess.PIPE, text=True,
                          timeout=TIMEOUT, check=False)
    return read_results("native", done.stdout.splitlines())


def check_clock(name, marks):
    """marks: (guest seconds, host seconds) at the first and the last program."""
    guest, host = (marks[-1][i] - marks[0][i] for i in (0, 1))
    if abs(guest - host) > 0.1 + 0.02 * host:
        raise Trouble(f"{name}: {guest:.2f} s of guest time took {host:.2f} s of host time")


def run_guest(name, command, programs):
    """Boot once; the results, with the time from start to init as program "boot_to_init"."""
    start = time.monotonic()
    lines, marks, boot = [], [], None
    with subprocess.Popen(["timeout", str(TIMEOUT)] + command, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        for raw in process.stdout:
            now = time.monotonic() - start
            line = raw.decode(errors="replace").strip()
            lines.append(line)
            if line == "MULLION-BENCH-INIT":
                boot = now
            elif line.startswith("MULLION-CLOCK "):
                marks.append((float(line.split()[1]), now))
    if boot is None or "MULLION-BENCH-DONE" not in lines or len(marks) < 2:
        raise Trouble(f"{name} ended with status {process.returncode}, and with these lines:\n"
                      + "\n".join(lines[-20:]))
    check_clock(name, marks)
    results = read_results(name, lines)
    missing = set(programs) - set(results) - {line.split()[1] for line in lines
                                              if line.endswith(" skip")}
    if missing:
        raise Trouble(f"{name}: no result of {', '.join(sorted(missing))}")
    results["boot_to_init"] = (boot, "")
    return results


def keep_best(best, results):
    for program, (seconds, checksum) in results.items():
        if program in best:
            if best[program][1] != checksum:
                raise Trouble(f"{program}: checksums differ from one round to the next")
            seconds = min(seconds, best[program][0])
        best[program] = (seconds, checksum)


def check_checksums(all_best):
    """Every machine must have computed what the native one did."""
    native = all_best["native"]
    for name, best in all_best.items():
        for program, (_, checksum) in best.items():
            if program in native and native[program][1] != checksum:
                raise Trouble(f"{program}: {name} computed {checksum}, "
                              f"native {native[program][1]}")


def prepare(options, folder):
    """The kernel, and an initramfs with the programs in it."""
    kernel = subprocess.run([os.path.join(TOP, "scripts/guest-kernel"), "cloud"], check=True,
                            stdout=subprocess.PIPE, text=True).stdout.strip()
    program = os.path.join(folder, "benchmarks")
    subprocess.run(["cp", options.programs_from, program], check=True)
    initrd = os.path.join(folder, "initrd.gz")
    subprocess.run([os.path.join(TOP, "scripts/guest-initramfs"), initrd, program], check=True)
    return {"kernel": kernel, "initrd": initrd}


def machines(options, images, programs):
    """name -> a call that runs all programs there once."""
    calls = {"native": lambda: run_native(options, programs)}
    if not options.without_mullion:
        command = mullion_command(options, images, programs)
        calls["mullion"] = lambda: run_guest("mullion", command, programs)
    calls["tcg"] = lambda: run_guest("tcg", qemu_command(options, images, programs), programs)
    return calls


def measure(options, programs):
    with tempfile.TemporaryDirectory() as folder:
        calls = machines(options, prepare(options, folder), programs)
        all_best = {name: {} for name in calls}
        for number in range(options.rounds):
            for name, call in calls.items():
                print(f"round {number + 1} of {options.rounds}: {name}", file=sys.stderr)
                keep_best(all_best[name], call())
    check_checksums(all_best)
    return all_best


def mean(ratios):
    return math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else math.nan


def ratios_of(all_best, sets):
    """program -> tcg / mullion, for the programs of some sets that ran on both."""
    tcg, mullion = all_best["tcg"], all_best.get("mullion", {})
    return {program: tcg[program][0] / mullion[program][0] for program in tcg
            if program in mullion and set_of(program) in sets}


def print_table(all_best):
    columns = list(all_best)
    print(f"{'seconds':18}" + "".join(f"{name:>10}" for name in columns)
          + f"{'mullion/native':>16}{'tcg/native':>12}{'tcg/mullion':>13}")
    for program in all_best["tcg"]:
        cells = [all_best[name].get(program, (math.nan,))[0] for name in columns]
        by = dict(zip(columns, cells))
        native, mullion = by["native"], by.get("mullion", math.nan)
        print(f"{program:18}" + "".join(f"{cell:10.3f}" if cell == cell else f"{'':10}"
                                        for cell in cells)
              + "".join(f"{ratio:{width}.2f}" if ratio == ratio else " " * width
                        for ratio, width in ((mullion / native, 16), (by["tcg"] / native, 12),
                                             (by["tcg"] / mullion, 13))))


def judge(all_best):
    """Print one line per bar; return a list of rows for --json."""
    rows = []
    for name, sets, wanted, least in BARS:
        ratios = ratios_of(all_best, sets)
        if not ratios:
            continue
        slowest = min(ratios, key=ratios.get)
        met = mean(ratios.values()) >= wanted and ratios[slowest] >= least
        rows.append({"bar": name, "geometric_mean": mean(ratios.values()), "wanted": wanted,
                     "slowest": slowest, "slowest_ratio": ratios[slowest],
                     "slowest_wanted": least, "met": met})
        floor = f", none below {least:.1f}" if least else ""
        print(f"{name:24}{mean(ratios.values()):7.2f} times TCG's speed (bar {wanted:.1f}{floor}); "
              f"least {ratios[slowest]:.2f} ({slowest}): {'met' if met else 'FALLS SHORT'}")
    for one in USER_SETS:
        ratios = ratios_of(all_best, (one,))
        if ratios:
            print(f"    {one:20}{mean(ratios.values()):7.2f}")
    return rows


def parse_arguments():
    parser = argparse.ArgumentParser(description="Mullion against QEMU's TCG, as ratios.")
    parser.add_argument("--mullion", default=os.path.join(TOP, "build/cli/mullion"))
    parser.add_argument("--programs-from", default=os.path.join(TOP, "build/bench/benchmarks"),
                        help="the static binary with all programs")
    parser.add_argument("--qemu", default="qemu-system-x86_64")
    parser.add_argument("--accel", default="dbt", help="Mullion's engine")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--programs", help="comma-separated beginnings of names, e.g. int,fp_fft")
    parser.add_argument("--json", metavar="FILE", help="write all numbers there as well")
    parser.add_argument("--without-mullion", action="store_true", help="only native and TCG")
    return parser.parse_args()


def choose_programs(options):
    names = subprocess.run([options.programs_from, "--list"], check=True, stdout=subprocess.PIPE,
                           text=True).stdout.split()
    if options.programs:
        names = [name for name in names if name.startswith(tuple(options.programs.split(",")))]
    return names


def main():
    options = parse_arguments()
    if options.quick:
        options.rounds = 1
    programs = choose_programs(options)
    if not programs:
        print(f"run.py: --programs {options.programs}: no program begins so", file=sys.stderr)
        return 2
    try:
        all_best = measure(options, programs)
    except Trouble as trouble:
        print(f"run.py: {trouble}", file=sys.stderr)
        return 1
    print_table(all_best)
    rows = judge(all_best)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"seconds": {name: {program: cell[0] for program, cell in best.items()}
                                   for name, best in all_best.items()},
                       "bars": rows}, file, indent=1)
    return 0 if options.programs or all(row["met"] for row in rows) else 1


sys.exit(main())
