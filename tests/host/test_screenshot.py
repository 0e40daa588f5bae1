"""tools/screenshot.py shows what stood on the terminal: it runs the command, follows the cursor, sends Ctrl-C."""

import subprocess
import sys
import xml.etree.ElementTree

from tests.mpy import REPO

sys.path.insert(0, str(REPO / "tools"))



def shot(*arguments):
    command = [sys.executable, str(REPO / "tools" / "screenshot.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_a_status_line_that_is_rewritten_stands_once():
    live = "print('a\\nb\\nold', end=''); print('\\r\\x1b[2K\\x1b[1A\\x1b[2K\\x1b[32mB\\x1b[0m\\nnew')"
    assert shot("--", sys.executable, "-c", live) == "a\nB\nnew\n"


def test_it_is_a_terminal_of_the_stated_size_and_ends_by_ctrl_c():
    code = "import os,sys,time; print(*os.get_terminal_size(), sys.stdout.isatty(), flush=True)\n" \
           "try: time.sleep(60)\nexcept KeyboardInterrupt: print('ended')"  # fmt: skip
    out = shot("--columns", "77", "--rows", "9", "--seconds", "1", "--", sys.executable, "-c", code)
    assert out.replace("^C", "").split() == ["77", "9", "True", "ended"]


def test_the_picture_is_svg_with_the_text_and_colour_in_it(tmp_path):
    path = tmp_path / "x.svg"
    shot("-o", str(path), "--title", "a title", "--", sys.executable, "-c", "print('\\x1b[31mred & <loud>\\x1b[0m')")
    root = xml.etree.ElementTree.parse(path).getroot()
    text = "".join(root.itertext()).replace("\xa0", " ")
    assert root.tag.endswith("svg") and "red & <loud>" in text and "a title" in text
