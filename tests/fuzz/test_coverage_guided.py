"""libFuzzer searches for bytes that break the readers of files, worker streams and request bodies."""

from __future__ import annotations

import importlib.util
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from fuzzed_models import FUZZ_SECONDS

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this platform"),
]

HANG_SECONDS = 10  # limit for one input
MEMORY_MEGABYTES = 1024
OPTIONS = (
    f"-max_total_time={FUZZ_SECONDS}",
    f"-timeout={HANG_SECONDS}",
    "-max_len=8192",
    "-seed=1",
    "-print_final_stats=1",
)


@pytest.mark.parametrize("target", ["fuzz_arrow", "fuzz_checkpoint", "fuzz_frames", "fuzz_infer", "fuzz_json_document"])
def test_no_bytes_break_the_reader(target: str, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    # libFuzzer compares the operating system's peak, which a process inherits from its parent.
    inherited = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    script = Path(__file__).with_name(f"{target}.py")
    done = subprocess.run(
        [
            *(sys.executable, script, corpus, *OPTIONS),
            *(f"-rss_limit_mb={inherited + MEMORY_MEGABYTES}", f"-artifact_prefix={tmp_path}/"),
        ],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=FUZZ_SECONDS + 60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    executed = re.search(r"stat::number_of_executed_units: (\d+)", done.stderr)
    assert executed is not None, done.stderr
    assert int(executed[1]) > 1_000, done.stderr
