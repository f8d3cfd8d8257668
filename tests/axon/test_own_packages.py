"""Users' files named like Axon's packages: no such file runs, and an import names the file in the way."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import axon
from axon.own_packages import HiddenPackage, check_own_packages

ROOT = Path(__file__).parents[2]
USE = "import axon; axon.fit"


@pytest.fixture
def project(tmp_path):
    """Yields a user's folder with a package `models` and a module `training`; fails if one of the two was run."""
    folder = (tmp_path / "project").resolve()
    (folder / "models").mkdir(parents=True)
    trace = f"open({str(tmp_path / 'ran')!r}, 'a').write(__name__ + '\\n')\n"
    (folder / "models/__init__.py").write_text(trace)
    (folder / "training.py").write_text(trace)
    yield folder
    assert not (tmp_path / "ran").exists(), (tmp_path / "ran").read_text()


def python(*arguments, cwd, path=(ROOT,)):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**environment, "PYTHONPATH": os.pathsep.join(map(str, path))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_package_in_the_working_folder_is_named_and_the_remedy_works(project):
    ran = python("-c", USE, cwd=project)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1] == (
        f"axon.own_packages.HiddenPackage: Axon's package 'models' is hidden by {project / 'models'}, which Python "
        f"finds first: rename it, or start Python with -P, which leaves {project} out. The command axon works in any "
        "folder."
    )
    assert python("-P", "-c", f"{USE}; axon.load; print('fine')", cwd=project).stdout == "fine\n"


def test_a_folder_without_init_counts_too_where_axon_is_installed_by_a_finder(project):
    (project / "models/__init__.py").unlink()
    code = f"""
import sys
from importlib.machinery import PathFinder
class Editable:
    def find_spec(name, path=None, target=None):  # after the path, as setuptools' finder for editable installs
        return PathFinder.find_spec(name, [{str(ROOT)!r}])
sys.meta_path.insert(sys.meta_path.index(PathFinder) + 1, Editable)
import axon
axon.load
"""
    ran = python("-c", code, cwd=project, path=())
    assert f"Axon's package 'models' is hidden by {project / 'models'}," in ran.stderr


def test_a_program_called_training_is_named(project):
    (project / "models/__init__.py").unlink()
    (project / "models").rmdir()
    (project / "training.py").write_text(f"{USE}\n")
    ran = python(project / "training.py", cwd=ROOT.parent)
    assert f"Axon's package 'training' is hidden by {project / 'training.py'}," in ran.stderr.splitlines()[-1]
    assert python("-P", project / "training.py", cwd=ROOT.parent).returncode == 0


def test_a_folder_on_pythonpath_is_named_by_the_command_too(project):
    for arguments in (("-c", USE), ("-c", "from axon.cli import main; raise SystemExit(main(['list']))")):
        ran = python(*arguments, cwd=ROOT.parent, path=(project, ROOT))
        assert ran.returncode != 0
        assert ran.stderr.endswith(f"rename it, or take {project} out of PYTHONPATH.\n")


def test_a_package_that_is_not_needed_may_have_any_name(project):
    for path in (project / "models/__init__.py", project / "training.py"):
        path.unlink()
    (project / "models").rmdir()
    (project / "service.py").write_text("")
    assert python("-c", f"{USE}; axon.load; print('fine')", cwd=project).stdout == "fine\n"


def test_a_loaded_models_card_runs_no_program_called_training(project, tmp_path):
    axon.fit("xor", epochs=1, progress=False).publish(tmp_path / "store", report=False)
    (project / "models/__init__.py").unlink()
    (project / "models").rmdir()
    code = f"import axon; print(axon.load('xor', {str(tmp_path / 'store')!r})._repr_html_())"
    ran = python("-c", code, cwd=project)
    assert ran.stdout.startswith("<pre>&lt;Model xor@1: classification of "), ran.stderr


def test_python_m_axon_leaves_the_working_folder_out(project):
    ran = python("-m", "axon", "list", "--store", "nowhere", cwd=project)
    assert (ran.returncode, ran.stdout) == (0, "nowhere holds no model.\n"), ran.stderr


def test_a_module_that_is_imported_already_is_checked(project, monkeypatch):
    check_own_packages()
    spec = type("Spec", (), {"submodule_search_locations": [str(project / "models")], "origin": None})
    monkeypatch.setitem(sys.modules, "models", type("Module", (), {"__spec__": spec}))
    with pytest.raises(HiddenPackage, match="is hidden by"):
        axon.load  # noqa: B018
