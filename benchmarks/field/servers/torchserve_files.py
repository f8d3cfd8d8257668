"""TorchServe's archive and settings: `torchserve_files.py PORT FOLDER`. The default queue of 100 is too short."""

import subprocess
import sys
from pathlib import Path

from benchmarks.process import free_port

_MODEL = """minWorkers: 1
maxWorkers: 1
batchSize: 64
maxBatchDelay: 2
responseTimeout: 60
"""
_LOG = """<?xml version="1.0" encoding="UTF-8"?>
<Configuration>
  <Appenders><Console name="out"><PatternLayout pattern="%d [%-5p] %c - %m%n"/></Console></Appenders>
  <Loggers><Root level="error"><AppenderRef ref="out"/></Root></Loggers>
</Configuration>
"""
_CONFIG = """inference_address=http://127.0.0.1:{port}
management_address=http://127.0.0.1:{management}
metrics_address=http://127.0.0.1:{metrics}
grpc_inference_port={grpc_inference}
grpc_management_port={grpc_management}
disable_token_authorization=true
disable_system_metrics=true
metrics_mode=prometheus
job_queue_size=1000
default_workers_per_model=1
vmargs=-Xmx1g -Dlog4j.configurationFile=file://{folder}/log4j2.xml
"""

if __name__ == "__main__":
    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    (folder / "store").mkdir()
    (folder / "model-config.yaml").write_text(_MODEL)
    (folder / "log4j2.xml").write_text(_LOG)
    others = {name: free_port() for name in ("management", "metrics", "grpc_inference", "grpc_management")}
    (folder / "config.properties").write_text(_CONFIG.format(port=port, folder=folder, **others))
    archiver = [str(Path(sys.executable).parent / "torch-model-archiver"), "--model-name", "mlp", "--version", "1.0"]
    archiver += ["--handler", str(Path(__file__).parent / "torchserve_handler.py")]
    archiver += ["--config-file", str(folder / "model-config.yaml"), "--export-path", str(folder / "store")]
    subprocess.run(archiver, check=True)
