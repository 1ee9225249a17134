"""installed_test - help, host report, man page, completion, and an installed tree

usage: installed_test.py --mullion PROGRAM --payloads DIR --build DIR
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import argument, check, expect_match, expect_status, report, run

RUN_OPTIONS = ["--kernel", "--initrd", "--append", "--memory", "--cpus", "--accel", "--no-reboot",
               "--debug-exit", "--serial", "--trace", "--stats"]


def mullion(*words):
    return run([argument("mullion"), *words])


def help_lists_every_option():
    finished = mullion("run", "--help")
    expect_status(finished, 0)
    for option in RUN_OPTIONS:
        check(option in finished.output, f"{option} is missing from:\n{finished.output}")


def version_is_one_line():
    finished = mullion("--version")
    expect_status(finished, 0)
    expect_match(r"^mullion \d+\.\d+\.\d+$", finished.output, "stdout")


def host_says_what_is_usable():
    finished = mullion("host")
    expect_status(finished, 0)
    expect_match("kvm", finished.output, "stdout")
    expect_match("dbt", finished.output, "stdout")


def host_json_parses():
    finished = mullion("host", "--json")
    expect_status(finished, 0)
    text = json.dumps(json.loads(finished.output))
    check("kvm" in text and "dbt" in text, f"no engines in {text}")


def a_usage_error_is_status_2():
    for words in ([], ["no-such-command"], ["--no-such-option"]):
        expect_status(mullion(*words), 2)


def found(top, pattern):
    for folder, _, names in os.walk(top):
        for name in names:
            path = os.path.join(folder, name)
            if re.search(pattern, path):
                return path
    return None


def installed_tree_works():
    with tempfile.TemporaryDirectory() as top:
        done = run(["meson", "install", "-C", argument("build"), "--no-rebuild", "--destdir", top])
        expect_status(done, 0)
        program = found(top, r"/bin/mullion$")
        check(program, f"no bin/mullion in:\n{done.output}")
        expect_status(run([program, "--version"]), 0)
        check_man_page(found(top, r"/man1/mullion\.1(\.gz)?$"))
        check_completion(found(top, r"/bash-completion/completions/mullion$"))


def check_man_page(path):
    check(path, "no man page was installed")
    if shutil.which("groff") is None:
        return
    finished = run(["groff", "-ww", "-man", "-Tascii", path])
    check(finished.status == 0 and finished.errors == "", f"groff: {finished.describe()}")
    text = re.sub(r"\x1b\[[0-9;]*m|.\x08", "", finished.output)
    for option in RUN_OPTIONS:
        check(option in text, f"{option} is missing from the man page")


def check_completion(path):
    check(path, "no bash completion was installed")
    script = (f"source '{path}'; COMP_WORDS=(mullion run --no); COMP_CWORD=2; "
              "COMP_LINE='mullion run --no'; COMP_POINT=16; "
              "words=($(complete -p mullion)); for ((i = 0; i < ${#words[@]}; i++)); do "
              "[ \"${words[i]}\" = -F ] && function=${words[i+1]}; done; "
              "$function mullion --no run; printf '%s\\n' \"${COMPREPLY[@]}\"")
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    check("--no-reboot" in done.stdout.split(), f"completing --no gave {done}")


CASES = [
    ("help lists every option of run", help_lists_every_option),
    ("the version is one line", version_is_one_line),
    ("host reports the engines", host_says_what_is_usable),
    ("host --json is JSON", host_json_parses),
    ("a usage error is status 2", a_usage_error_is_status_2),
    ("an installed tree has the program, a clean man page and completion", installed_tree_works),
]

sys.exit(report(CASES, lambda case: case()))
