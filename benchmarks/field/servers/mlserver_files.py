"""MLServer's two settings files: `mlserver_files.py PORT FOLDER`. The default `debug` halves its speed."""

import json
import sys
from pathlib import Path

from benchmarks.process import free_port

if __name__ == "__main__":
    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    settings = {
        "debug": False,
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_endpoint": None,
        "metrics_port": free_port(),
        "parallel_workers": 0,
        "tracing_server": None,
        "use_structured_logging": False,
        "gzip_enabled": False,
    }
    model = {
        "name": "mlp",
        "implementation": "benchmarks.field.servers.mlserver_runtime.MLP",
        "max_batch_size": 64,
        "max_batch_time": 0.002,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
