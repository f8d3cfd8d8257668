"""cuBLAS without workspace: sums along the columns of a product are never split between blocks of threads.

cuBLAS picks a kernel by the number of rows. Kernels that divide a long sum between blocks of threads ("split-K") need a
workspace for the partial sums, and round differently. Without workspace, the kernels for 32 and more rows add the terms
in one order, and a row has the same bits in a small and in a large batch.
"""

from __future__ import annotations

import os

# Workspaces of cuBLAS by size in KiB and number, and KiB for cublasLt.
_WITHOUT_WORKSPACE = {"CUBLAS_WORKSPACE_CONFIG": ":0:0", "CUBLASLT_WORKSPACE_SIZE": "0"}


def forbid_split_sums() -> None:
    """Sets cuBLAS's environment variables of this process to no workspace; a value of the user stays.

    For processes that only serve: torch reads the variables at each product that is not part of a captured graph,
    which takes 0.1 ms. A call after the first use of cuBLAS in the process may have no effect.
    """
    for name, value in _WITHOUT_WORKSPACE.items():
        os.environ.setdefault(name, value)
