import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from fastshell import kernelspec
from fastshell.kernelspec import KernelSpecError

ROOT = Path(__file__).parents[1]
FILES = {"kernel.json", "logo-32x32.png", "logo-64x64.png", "logo-svg.svg"}


@pytest.fixture
def kernels(tmp_path: Path) -> Path:
    return tmp_path / "share" / "jupyter" / "kernels"


@pytest.fixture
def unwritable(kernels: Path) -> Path:
    """A prefix whose kernels "folder" is a file: refuses to root as well."""
    kernels.parent.mkdir(parents=True)
    kernels.touch()
    return kernels.parents[2]


# --- what is installed ---


def test_installed_spec_starts_this_interpreter(tmp_path: Path, kernels: Path) -> None:
    path = kernelspec.install(prefix=tmp_path)
    assert path == kernels / "fastshell"
    assert set(os.listdir(path)) == FILES
    assert json.loads((path / "kernel.json").read_text()) == {
        "argv": [sys.executable, "-m", "fastshell", "-f", "{connection_file}"],
        "display_name": "Python 3 (fastshell)",
        "language": "python",
        "kernel_protocol_version": "5.5",
        "metadata": {"debugger": False, "supported_encryption": ["curve"]},
    }


def test_jupyter_client_finds_it(tmp_path: Path, kernels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import KernelManager

    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share" / "jupyter"))
    kernelspec.install(prefix=tmp_path, name="Fast-1.x_y", display_name="Fast one")
    specs = KernelSpecManager()
    assert specs.find_kernel_specs()["fast-1.x_y"] == str(kernels / "fast-1.x_y")
    assert specs.get_kernel_spec("Fast-1.x_y").display_name == "Fast one"
    manager = KernelManager(
        kernel_name="fast-1.x_y", transport_encryption="auto", connection_file=str(tmp_path / "k.json")
    )
    assert manager._kernel_supports_curve_encryption()
    assert manager.format_kernel_cmd() == [sys.executable, "-m", "fastshell", "-f", manager.connection_file]
    kernelspec.uninstall("Fast-1.x_y")
    assert "fast-1.x_y" not in specs.find_kernel_specs()


def test_another_name_is_shown_unless_told_otherwise(tmp_path: Path) -> None:
    path = kernelspec.install(prefix=tmp_path, name="lab")
    assert json.loads((path / "kernel.json").read_text())["display_name"] == "lab"


def test_user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    assert kernelspec.install(user=True) == tmp_path / "data" / "kernels" / "fastshell"
    assert kernelspec.uninstall(user=True) == tmp_path / "data" / "kernels" / "fastshell"


def test_installing_again_replaces(tmp_path: Path, kernels: Path) -> None:
    path = kernelspec.install(prefix=tmp_path, display_name="one")
    (path / "stray").touch()
    kernelspec.install(prefix=tmp_path, display_name="two")
    assert set(os.listdir(path)) == FILES
    assert json.loads((path / "kernel.json").read_text())["display_name"] == "two"
    assert os.listdir(kernels) == ["fastshell"]


def test_a_link_is_replaced_not_followed(tmp_path: Path, kernels: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kernel.json").write_text("{}")
    kernels.mkdir(parents=True)
    (kernels / "fastshell").symlink_to(elsewhere)
    kernelspec.install(prefix=tmp_path)
    assert not (kernels / "fastshell").is_symlink()
    assert (elsewhere / "kernel.json").read_text() == "{}"


def test_a_failed_install_keeps_the_old_one(
    tmp_path: Path, kernels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = kernelspec.install(prefix=tmp_path, display_name="old")
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if self.name == "fresh":
            raise OSError(28, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(KernelSpecError, match="No space left"):
        kernelspec.install(prefix=tmp_path, display_name="new")
    assert json.loads((path / "kernel.json").read_text())["display_name"] == "old"
    assert os.listdir(kernels) == ["fastshell"]


# --- refusals ---


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "ä", "a\n", "../x", "a:b"])
def test_bad_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(KernelSpecError, match="expected letters, digits"):
        kernelspec.install(prefix=tmp_path, name=name)
    with pytest.raises(KernelSpecError, match="expected letters, digits"):
        kernelspec.uninstall(name, prefix=tmp_path)
    assert os.listdir(tmp_path) == []


def test_user_and_prefix_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(KernelSpecError, match="exclude"):
        kernelspec.install(user=True, prefix=tmp_path)


def test_nothing_to_remove(tmp_path: Path) -> None:
    with pytest.raises(KernelSpecError, match="no kernelspec 'fastshell' in"):
        kernelspec.uninstall(prefix=tmp_path)


@pytest.mark.parametrize(
    "content",
    ['{"argv": ["python", "-m", "ipykernel_launcher"]}', "{", "[]", '{"argv": ["x"]}', '{"argv": 1}'],
)
def test_a_kernelspec_of_another_kernel_is_not_removed(tmp_path: Path, kernels: Path, content: str) -> None:
    (kernels / "python3").mkdir(parents=True)
    (kernels / "python3" / "kernel.json").write_text(content)
    with pytest.raises(KernelSpecError, match="starts another kernel"):
        kernelspec.uninstall("python3", prefix=tmp_path)
    assert (kernels / "python3" / "kernel.json").read_text() == content


# --- the commands ---


def test_commands(tmp_path: Path, kernels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--prefix", str(tmp_path), "--name", "lab"]
    assert kernelspec.install_main([*where, "--display-name", "My lab"]) == 0
    assert capsys.readouterr().out == f"Installed kernelspec lab in {kernels / 'lab'}\n"
    assert kernelspec.uninstall_main(where) == 0
    assert capsys.readouterr().out == f"Removed kernelspec lab from {kernels}\n"
    assert kernelspec.uninstall_main(where) == 1
    assert capsys.readouterr().err.startswith("python -m fastshell uninstall: no kernelspec 'lab' in")


def test_program_of_another_language(tmp_path: Path, kernels: Path) -> None:
    where = ["--prefix", str(tmp_path), "--name", "fast-bash"]
    assert kernelspec.install_main([*where, "--run", "bash_kernel", "--language", "bash"]) == 0
    content = json.loads((kernels / "fast-bash" / "kernel.json").read_text("utf-8"))
    program = ["-m", "fastshell", "run", "bash_kernel", "-f", "{connection_file}"]
    assert content["argv"] == [sys.executable, *program]
    assert (content["language"], content["display_name"]) == ("bash", "fast-bash")
    assert kernelspec.uninstall_main(where) == 0


def test_sys_prefix_is_the_environment(
    tmp_path: Path, kernels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert kernelspec.install_main(["--sys-prefix"]) == 0
    assert (kernels / "fastshell" / "kernel.json").is_file()


def test_commands_refuse_in_one_line(unwritable: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert kernelspec.install_main(["--prefix", str(unwritable)]) == 1
    assert kernelspec.install_main(["--prefix", str(unwritable), "--name", "a/b"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    first, second = captured.err.splitlines()
    assert first.startswith("python -m fastshell install: cannot install 'fastshell' in")
    assert second.startswith("python -m fastshell install: kernel name 'a/b'")


def test_permission_refused_suggests_where_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import jupyter_core.paths

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(jupyter_core.paths, "SYSTEM_JUPYTER_PATH", [str(tmp_path)])
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(KernelSpecError, match=r"Permission denied \(try --user or --sys-prefix\)"):
        kernelspec.install()


@pytest.mark.parametrize(
    "argv", [["--user", "--sys-prefix"], ["--nonsense"], ["--name"], ["--run", "bash_kernel"]]
)
def test_misuse_exits_with_2(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        kernelspec.install_main(argv)
    assert exit_.value.code == 2


# --- the wheel ---


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_wheel_and_sdist_hold_what_they_should(tmp_path: Path) -> None:
    """Built without the extensions, whose compilation takes long and has its own tests."""
    pytest.importorskip("setuptools", minversion="77")
    copy, out = tmp_path / "source", tmp_path / "out"
    ignored = shutil.ignore_patterns(".*", "build", "dist", "__pycache__", "*.so", "*.egg-info")
    shutil.copytree(ROOT, copy, ignore=ignored)
    for kind in ("sdist", "wheel"):
        script = f"from setuptools import build_meta; build_meta.build_{kind}({str(out)!r})"
        environment = os.environ | {"FASTSHELL_PURE": "1"}
        subprocess.run(
            [sys.executable, "-c", script], cwd=copy, env=environment, check=True, capture_output=True
        )

    wheel = zipfile.ZipFile(next(out.glob("*.whl")))
    names = set(wheel.namelist())
    data = {Path(name).name for name in names if ".data/data/share/jupyter/kernels/fastshell/" in name}
    assert data == FILES
    for name in ("_contract.py", "_router.pyi", "_wire.pyi", "py.typed", "protocol/connection.py"):
        assert f"fastshell/{name}" in names
    assert {f"fastshell/resources/{name}" for name in FILES} <= names
    assert not [name for name in names if name.endswith((".c", ".pyx", ".pxd", ".h"))]
    spec = next(name for name in names if name.endswith("fastshell/kernel.json") and ".data/" in name)
    # jupyter_client replaces this by its own interpreter, that of the environment.
    assert json.loads(wheel.read(spec))["argv"][0] == "python"

    with tarfile.open(next(out.glob("*.tar.gz"))) as archive:
        source = {name.partition("/")[2] for name in archive.getnames()}
    for suffix in ("*.py", "*.pyi", "*.pyx", "*.pxd", "*.h"):
        for file in (copy / "src" / "fastshell").rglob(suffix):
            assert file.relative_to(copy).as_posix() in source
    assert {"LICENSE", "pyproject.toml", "setup.py", "src/fastshell/py.typed"} <= source
    assert not [name for name in source if name.endswith((".c", ".so"))]
