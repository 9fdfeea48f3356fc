"""Mistakes and mishaps end in one line that names the way out, whichever script meets them."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT, refused

SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for path in (*ROOT.glob("*.py"), *ROOT.glob("[!.]*/*.py"))
    if "cli.run(main)" in path.read_text(encoding="utf-8") and path.name != "test_errors.py"
)
NO_PACKAGES = (sys.executable, "-S")  # Python without its site-packages: as before `make setup`


def slow_packages(folder):
    """A folder of packages that say in the file `loading` that they load, and take long."""
    for name in ("numpy", "torch", "joblib", "elftools", "tqdm", "PIL"):
        (folder / f"{name}.py").write_text(
            f"import pathlib, time\npathlib.Path({str(folder)!r}, 'loading').touch()\n"
            "try:\n    time.sleep(60)\nexcept BaseException:\n    pass\n"  # as some packages do
        )
    return folder / "loading"


def wait_for(condition, seconds=60):
    """Whether `condition()` comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


# --- while modules load


def test_there_are_scripts_in_all_folders():
    assert {script.rpartition("/")[0] for script in SCRIPTS} == {
        "", "docs", "examples", "mcu", "tests",
    }  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS)
def test_without_the_environment_a_script_names_the_way_to_it(script):
    done = subprocess.run([*NO_PACKAGES, script], cwd=ROOT, capture_output=True, text=True)
    line = refused(done)
    assert "is not installed for" in line
    assert "'make setup'" in line and ".venv/bin/python" in line


def test_a_package_of_the_second_set_is_named_with_its_target(tmp_path):
    for name in ("numpy", "torch", "tqdm"):
        (tmp_path / f"{name}.py").write_text("def tqdm(): pass")
    done = subprocess.run(
        [*NO_PACKAGES, "compile_tflite.py", "x.tflite"],
        cwd=ROOT, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert "tflite is not installed" in refused(done) and "'make setup-all'" in done.stderr


def test_a_broken_package_is_one_line_with_its_reason(tmp_path):
    (tmp_path / "torch.py").write_text(
        "raise ImportError('libcudart: no\\nsuch file', name='torch')"
    )
    done = subprocess.run(
        [sys.executable, "training.py"],
        cwd=ROOT, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert "torch cannot be loaded (libcudart: no such file)" in refused(done)


@pytest.mark.parametrize("script", SCRIPTS)
def test_interrupt_while_modules_load_is_one_line(script, tmp_path):
    loading = slow_packages(tmp_path)
    process = subprocess.Popen(
        [*NO_PACKAGES, script],
        cwd=ROOT, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert wait_for(loading.exists)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error == "interrupted: no finished file was changed\n"


def test_loading_a_script_as_a_module_leaves_the_process_as_it_was():
    code = (
        "import signal, sys, training\n"
        "assert sys.excepthook is sys.__excepthook__\n"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def requirements(name):
    """The distributions that a requirements file names itself."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return {re.match(r"[\w-]+", line)[0] for line in lines if re.match(r"\w", line)}


def test_the_second_set_of_packages_has_no_part_in_the_pipeline():
    """What modules of the pipeline import stands in requirements.txt, by its importable name."""
    names = {"PIL": "pillow", "yaml": "pyyaml", "sklearn": "scikit-learn", "elftools": "pyelftools"}
    first, second = requirements("requirements.txt"), requirements("requirements-all.txt")
    assert not first & second
    assert "-r requirements.txt" in (ROOT / "requirements-all.txt").read_text()
    pipeline = [*ROOT.glob("*.py"), *ROOT.glob("mcu/*.py"), *ROOT.glob("docs/*.py")]
    ours = {path.stem for path in ROOT.rglob("*.py")} | {"tinyengine"}
    for path in pipeline:
        text = path.read_text(encoding="utf-8")
        imported = set(re.findall(r"^\s*(?:import|from) (\w+)", text, re.M))
        packages = imported - ours - set(sys.stdlib_module_names) - {"tensorboard", "msvcrt"}
        assert {names.get(package, package) for package in packages} <= first, path


def test_packages_of_the_second_set_are_known_to_startup():
    tools = {"pytest-xdist", "ruff", "clang-format"}  # programs, which nothing imports
    named = {name.replace("-", "_") for name in requirements("requirements-all.txt") - tools}
    code = "import startup; print(*startup.ONLY_IN_ALL)"  # elsewhere: it is for programs
    known = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert named == set(known.stdout.split())


# --- make


def make(*arguments, folder=ROOT, **environment):
    """Run make as from a user's shell in `folder`; returns the finished process."""
    inherited = ("MAKELEVEL", "MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES")
    clean = {key: value for key, value in os.environ.items() if key not in inherited}
    return subprocess.run(
        ["make", *map(str, arguments)],
        cwd=folder,
        env=clean | {"PWD": str(folder)} | environment,
        capture_output=True,
        text=True,
    )


def the_line(done):
    """The one line in which make failed, apart from its own about the target."""
    assert done.returncode == 2, done.stdout + done.stderr
    lines = [x for x in done.stderr.splitlines() if not re.match(r"make(\[\d+\])?: \*\*\* \[", x)]
    (line,) = [x for x in lines if not re.match(r"make(\[\d+\])?: (Leaving|Entering)", x)]
    return line


@pytest.mark.parametrize(
    ("misspelt", "meant"), [("ARG=seed=1", "ARGS"), ("venv=x", "VENV"), ("BULID=x", "BUILD")]
)
def test_a_misspelt_variable_of_make_is_refused(misspelt, meant):
    line = the_line(make("help", misspelt))
    assert f"did you mean '{meant}'?" in line and "MULTIPLIER" in line
