"""Threads: how many CPUs are free on a machine, how many threads a run takes, and the note on that."""

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models.network.config import MLPConfig
from training.cli import main
from training.fit import fit
from training.free_cpus import free_cpus
from training.resume import ResumeFile
from training.threads import SHARED_FROM, choose_threads, fastest, limited_threads, step_multiply_adds

ROOT = Path(__file__).parents[2]
SMALL = MLPConfig(layer_sizes=(10, 256, 256, 256, 2))  # the network of the default recipe
LARGE = MLPConfig(layer_sizes=(784, 512, 256, 10))


def machine(tmp_path, *, busy, cgroup="0::/\n", limits=(), load="0.00 0.00 0.00 1/100 1\n"):
    """Makes a folder with the kernel's files in `proc` and `sys`, and a `sleep` that advances each CPU by 20 ticks.

    `busy` is the share of each CPU that is taken meanwhile; None for a kernel whose counters do not move.
    """
    proc = tmp_path / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "self/cgroup").write_text(cgroup)
    (proc / "loadavg").write_text(load)
    for path, text in limits:
        file = tmp_path / "sys/fs/cgroup" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def write(passed):
        lines = ["cpu  1 2 3 4 5 6 7 0 0 0"]
        for i, share in enumerate(busy):
            taken = 0 if share is None else round(share * passed)
            idle = 0 if share is None else passed - taken
            lines.append(f"cpu{i} {1000 + taken} 50 300 {9000 + idle} 10 0 5 0 0 0")
        (proc / "stat").write_text("\n".join([*lines, "intr 1 2 3", "ctxt 99"]) + "\n")

    write(0)
    return {"root": tmp_path, "allowed": range(len(busy)), "sleep": lambda seconds: write(20)}


@pytest.mark.parametrize(
    ("busy", "expected"),
    [
        ([0, 0, 0, 0], 4),
        ([0.05, 0.05, 0, 0.1], 4),  # the load of an idle machine
        ([1, 0, 0, 0], 3),
        ([0.5, 0.5, 0.5, 0.5], 2),
        ([1, 1, 0.9, 1], 1),  # at least one
        ([0], 1),
    ],
)
def test_free_are_the_cpus_that_are_idle(tmp_path, busy, expected):
    assert free_cpus(**machine(tmp_path, busy=busy)) == expected


def test_cpus_that_the_process_may_not_use_do_not_count(tmp_path):
    given = machine(tmp_path, busy=[1, 0, 0, 0]) | {"allowed": {0, 3}}
    assert free_cpus(**given) == 1


@pytest.mark.parametrize(
    ("cgroup", "limits", "expected"),
    [
        ("0::/\n", [("cpu.max", "250000 100000\n")], 2),
        ("0::/\n", [("cpu.max", "max 100000\n")], 8),
        ("0::/a/b\n", [("a/b/cpu.max", "max 100000\n"), ("a/cpu.max", "300000 100000\n")], 3),  # a parent's limit
        ("4:cpu,cpuacct:/docker/x\n", [("cpu,cpuacct/cpu.cfs_quota_us", "150000"),
                                       ("cpu,cpuacct/cpu.cfs_period_us", "50000")], 3),  # the container's own mount
        ("4:cpu,cpuacct:/\n", [("cpu,cpuacct/cpu.cfs_quota_us", "-1"), ("cpu,cpuacct/cpu.cfs_period_us", "50000")], 8),
    ],
)  # fmt: skip
def test_a_control_groups_quota_holds(tmp_path, cgroup, limits, expected):
    assert free_cpus(**machine(tmp_path, busy=[0] * 8, cgroup=cgroup, limits=limits)) == expected


def test_the_load_average_counts_where_the_kernels_counters_stand_still(tmp_path):
    given = machine(tmp_path, busy=[None] * 4, load="2.10 0.50 0.10 3/100 1\n")
    assert free_cpus(**given) == 2


def _spin(cpu, started):
    os.sched_setaffinity(0, {cpu})
    started.release()
    while True:
        pass


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="pins processes to CPUs")
def test_on_this_machine_nothing_is_free_while_each_cpu_is_busy():
    context = multiprocessing.get_context("spawn")
    cpus, started = sorted(os.sched_getaffinity(0))[:2], context.Semaphore(0)
    spinning = [context.Process(target=_spin, args=(cpu, started), daemon=True) for cpu in cpus]
    try:
        for process in spinning:
            process.start()
        for _ in spinning:
            assert started.acquire(timeout=60)
        assert free_cpus(allowed=cpus) == 1
    finally:
        for process in spinning:
            process.kill()
            process.join()


def test_small_steps_get_one_thread_whatever_is_free(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert step_multiply_adds(SMALL, 256) < SHARED_FROM

    def not_asked():
        raise AssertionError("the same seed would give other bytes on another day")

    choice = choose_threads(SMALL, batch_rows=256, free=not_asked)
    assert choice.number == 1
    assert str(choice).startswith("Training with 1 CPU thread: its steps are too small")


def test_large_steps_get_no_more_threads_than_are_free(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert step_multiply_adds(LARGE, 256) == 3 * 256 * (784 * 512 + 512 * 256 + 256 * 10) > SHARED_FROM
    assert choose_threads(LARGE, batch_rows=256, free=lambda: 1).number == 1
    two = choose_threads(LARGE, batch_rows=256, free=lambda: 2)
    assert two.number in (1, 2)
    assert "fastest of 1, 2" in str(two)
    assert "2 CPUs are free" in str(two)


def test_what_is_asked_for_wins_and_a_gpus_steps_are_not_shared(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert choose_threads(SMALL, batch_rows=256, asked=3).number == 3
    assert choose_threads(LARGE, batch_rows=256, free=lambda: 16).number == 1  # the environment allows one
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert choose_threads(LARGE, batch_rows=256, can_share=False, free=lambda: 16).number == 1


def test_a_trial_leaves_torchs_threads_and_random_numbers_alone():
    before = (torch.get_num_threads(), torch.get_rng_state())
    assert fastest(MLPConfig(layer_sizes=(8, 16, 2)), 32, [1, 2]) in (1, 2)
    assert torch.get_num_threads() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


def test_a_run_takes_its_threads_and_gives_them_back(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        seen, told = [], []
        model = fit(
            "xor", epochs=2, on_epoch=lambda epoch: seen.append(torch.get_num_threads()), on_threads=told.append
        )
        assert seen == [1, 1]
        assert told == [model.threads]
        assert torch.get_num_threads() == 2
        fit("xor", epochs=1, threads=3, on_epoch=lambda epoch: seen.append(torch.get_num_threads()))
        assert seen[-1] == 3
    finally:
        torch.set_num_threads(before)


def test_a_run_that_goes_on_takes_the_threads_that_it_began_with(tmp_path):
    path, run = tmp_path / "xor.safetensors", {"epochs": 6}
    whole = fit("xor", threads=2, **run)
    epochs = iter(range(100))
    first = fit("xor", threads=2, keep=ResumeFile(path), should_stop=lambda: next(epochs) == 2, **run)
    assert first.trained.stopped == "asked"
    resumed = fit("xor", keep=ResumeFile(path), resume=True, **run)
    assert resumed.threads.number == 2
    assert str(resumed.threads) == "Training with 2 CPU threads, as the run began."
    assert {n: t.tobytes() for n, t in resumed.trained.tensors.items()} == {
        n: t.tobytes() for n, t in whole.trained.tensors.items()
    }


def test_the_command_tells_what_it_chose(tmp_path, capsys):
    assert main(["fit", "xor", "--epochs", "2", "--store", str(tmp_path), "--json", "--no-report"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["threads"] == 1
    assert "\nTraining with 1 CPU thread: its steps are too small" in told.err
    assert main(["fit", "xor", "--epochs", "2", "--store", str(tmp_path), "--no-report", "--threads", "1"]) == 0
    assert "Training with" not in capsys.readouterr().err  # the user chose the number


@pytest.mark.slow
def test_a_library_that_is_loaded_within_the_limit_keeps_to_it():
    code = "from training.threads import limited_threads\nwith limited_threads(1):\n import torch\n" \
           "print(torch.get_num_threads())"  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ran.stdout.strip() == "1", ran.stderr


def test_the_limit_is_lifted_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="in the midst"), limited_threads(before + 1):
        raise ValueError("in the midst")
    assert torch.get_num_threads() == before
