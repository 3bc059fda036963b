"""Cores and memory: a control group's limit counts, at whatever height it is set."""

import os
import resource
from pathlib import Path

import pytest
import torch

from aecli import machine
from aecli.training import device


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Makes files of control groups; the first argument is /proc/self/cgroup."""

    def make(own, **files):
        (tmp_path / "own").write_text(own)
        for name, content in files.items():
            path = tmp_path / "groups" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        monkeypatch.setattr(machine, "_OWN", tmp_path / "own")
        monkeypatch.setattr(machine, "_CGROUPS", tmp_path / "groups")

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    return make


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("", {}, 16),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 16),
        ("0::/\n", {"cpu.max": "400000 100000\n"}, 4),
        ("0::/a/b\n", {"a/cpu.max": "350000 100000", "a/b/cpu.max": "800000 100000"}, 3),
        ("0::/a\n", {"a/cpu.max": "50000 100000"}, 1),
        ("0::/../../a\n", {"cpu.max": "200000 100000"}, 2),
        ("0::/a\n", {"a/cpu.max": "nonsense"}, 16),
        (
            "4:cpu,cpuacct:/a\n3:memory:/b\n",
            {
                "cpu,cpuacct/a/cpu.cfs_quota_us": "500000\n",
                "cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
                "cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
                "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            5,
        ),
    ],
)
def test_a_quota_limits_the_cores(groups, own, files, cores):
    groups(own, **files)
    assert machine.usable_cores() == device.usable_cores() == cores


@pytest.mark.parametrize(
    ("own", "files", "memory"),
    [
        ("0::/a/b\n", {"a/b/memory.max": "max", "a/memory.max": "5000000"}, 5_000_000),
        ("0::/a/b\n", {"a/b/memory.max": "4000000", "a/memory.max": "5000000"}, 4_000_000),
        ("7:memory:/x\n", {"memory/x/memory.limit_in_bytes": "3000000"}, 3_000_000),
        ("7:memory:/x\n0::/\n", {"memory/memory.limit_in_bytes": "2000000"}, 2_000_000),
    ],
)
def test_the_lowest_limit_on_memory_counts(groups, own, files, memory):
    groups(own, **files)
    assert machine.memory_limit() == memory


def test_a_machine_without_control_groups_has_its_own_limits(monkeypatch):
    monkeypatch.setattr(machine, "_OWN", Path("nowhere"))
    assert machine.memory_limit() > 2**28
    assert machine.usable_cores() >= 1


@pytest.mark.skipif(not machine.keep_freed_memory(), reason="not glibc's malloc")
def test_what_a_step_frees_is_there_for_the_next_one():
    def page_faults():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        held = [torch.empty(2**21).fill_(1) for _ in range(20)]  # 160 MiB, 40,960 pages
        del held
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    assert min(page_faults() for _ in range(4)) < 4096
