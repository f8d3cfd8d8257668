"""`axon score`: the answers are those of `axon.load`, whatever the format, and every fault is named."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from scoring.conftest import write  # noqa: F401  # replaced below

from axon.cli import main
from models.store import Store
