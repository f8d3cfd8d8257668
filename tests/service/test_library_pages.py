"""Library pages: a process without unused pages computes the same as before."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from service.library_pages import library_mappings

PROGRAM = """
import json, os, re, signal, sys
import numpy as np
import inference.engine, torch
from service.library_pages import let_go_of, library_mappings

def file_megabytes():
    rollup = open("/proc/self/smaps_rollup").read()
    size = {name: int(kb) / 1024 for name, kb in re.findall(r"^(Rss|Anonymous): +(\\d+) kB$", rollup, re.MULTILINE)}
    return size["Rss"] - size["Anonymous"]

def compute():
    torch.set_num_threads(1)
    x = torch.linspace(-1, 1, 300).reshape(10, 30)
    product = torch.nn.functional.gelu(x @ x.T).softmax(-1).numpy().tobytes().hex()
    return product, np.linalg.svd(x.numpy() @ x.numpy().T)[1].tobytes().hex(), json.dumps(sys.version_info)

before, computed = file_megabytes(), compute()
mappings = library_mappings()
let_go_of(mappings)
after = file_megabytes()
child = os.fork()
if child == 0:
    let_go_of(mappings)  # they are the same in a fork
    os._exit(0 if compute() == computed else 1)
ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(json.dumps([before, after, compute() == computed, ended]))
"""


@pytest.mark.slow
def test_a_process_is_smaller_and_computes_the_same() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=60, capture_output=True, text=True)
    before, after, is_same, exit_code_of_fork = json.loads(done.stdout)
    assert is_same
    assert exit_code_of_fork == 0
    assert before > 30, "torch alone has this much"
    assert after < before / 3


def test_nothing_that_may_have_been_changed_is_among_the_mappings() -> None:
    maps = {}
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, access, *_ = fields = line.split(maxsplit=5)
        start, end = (int(address, 16) for address in addresses.split("-"))
        maps[start, end] = access, fields[4], fields[5] if len(fields) == 6 else ""
    found = library_mappings()
    assert found
    for mapping in found:
        access, inode, path = maps[mapping]
        assert access in ("r--p", "r-xp")
        assert inode != "0"
        assert path.startswith("/")
