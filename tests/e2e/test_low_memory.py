"""Memory limits of a few MiB and less: what fits starts, and what does not is told with the limit and its number."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.bundles import Bundle
from tests.support.runtime import Runtime

MIB = 1 << 20


@pytest.mark.only_ocirt("runc and crun join the cgroup with all that their set-up needs")
def test_true_starts_at_4_mib(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    bundle.args("/bin/true").resources(memory={"limit": 4 * MIB})
    with host_unchanged():
        results = [runtime.run(bundle) for _ in range(100)]
    assert [result for result in results if result.code != 0] == []


@pytest.mark.only_ocirt("other words")
@pytest.mark.parametrize("kib", [4, 64, 96, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192])
@pytest.mark.cgroup_v1("on v2 init brings more memory with it: tests/guest/root/test_cgroup_v2.py")
@pytest.mark.parametrize("userns", [False, True])
def test_small_limits(runtime: Runtime, bundle: Bundle, kib: int, userns: bool, host_unchanged: Callable) -> None:
    """Either the program runs, or the kernel kills it, or an error names the limit."""
    bundle.args("/bin/true").resources(memory={"limit": kib << 10})
    if userns:
        bundle.user_namespace()
    with host_unchanged():
        for _ in range(5):
            result = runtime.run(bundle)
            assert "Traceback" not in result.err
            if result.code == 1:
                assert kib < 512
                assert f"(memory limit too low?): linux.resources.memory.limit is {kib << 10}" in result.last_line
            else:
                assert result.code == 0 or (result.code == 137 and kib < 512), result
