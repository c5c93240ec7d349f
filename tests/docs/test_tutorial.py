"""The tutorial, done as written: files, commands, a server, and the output that the page shows."""

import contextlib
import re
import signal
import socket
import subprocess

import pytest
from pages import DOCS, blocks, command, environment, write

SHOWN_PORT = "8000"
DIFFERS = [  # from run to run, or from one build of torch to another
    (re.compile(r"\b[0-9a-f]{12}\b"), "DIGEST"),
    (re.compile(r"\b\d+\.\d+ s\b"), "TIME"),
    (re.compile(r"published (\S+) -> \S+"), r"published \1"),
]


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


def test_the_tutorial_runs_and_prints_what_it_shows(tmp_path, port):
    text = (DOCS / "tutorial.md").read_text(encoding="utf-8").replace(SHOWN_PORT, port)
    steps = [block for block in blocks(text) if block.title or block.language in {"console", "sh"}]
    assert len(steps) > 8
    with contextlib.ExitStack() as servers:
        for block in steps:
            if block.title:
                write(block, tmp_path)
            elif "serve" in block.options:
                servers.enter_context(serving(block.text, tmp_path))
            else:
                for words, shown in commands(block.text):
                    assert_shown(words, shown, tmp_path)


def commands(text):
    """Return the commands of a console block, each with the lines that are shown below it."""
    found = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def assert_shown(words, shown, folder):
    done = command(["bash", "-c", words], folder, stderr=subprocess.STDOUT)
    said = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout
    assert matches(shown, said), f"$ {words}\nshown:\n{chr(10).join(shown)}\n\nreal:\n{done.stdout}"


def matches(shown, said):
    """Compare line by line; a shown ``...`` stands for any number of lines."""
    pattern = "".join(r"(?:.*\n)*?" if line == "..." else re.escape(alike(line)) + r"\n" for line in shown)
    return re.fullmatch(pattern, "".join(f"{alike(line)}\n" for line in said)) is not None


def alike(line):
    for pattern, word in DIFFERS:
        line = pattern.sub(word, line)
    return line


@contextlib.contextmanager
def serving(words, folder):
    """Run a server until the tutorial is over, then stop it as Ctrl-C would."""
    started = ["bash", "-c", f"exec {words}"]
    with subprocess.Popen(started, cwd=folder, env=environment(folder), stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout.readline().startswith("serving "), "the server did not start"
            yield
        finally:
            server.send_signal(signal.SIGINT)
    assert server.returncode == 0


@pytest.mark.parametrize(
    ("shown", "said", "same"),
    [
        (["a  1.25 s"], ["a  0.01 s"], True),
        (["to 3fa1b2c4d5e6"], ["to 000000000000"], True),
        (["a", "...", "d"], ["a", "b", "c", "d"], True),
        (["a", "...", "d"], ["a", "d"], True),
        (["a", "..."], ["b", "c"], False),
        (["12 rows"], ["13 rows"], False),
        ([], ["something"], False),
    ],
)
def test_shown_output_is_compared_line_by_line(shown, said, same):
    assert matches(shown, said) is same
