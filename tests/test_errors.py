"""Mistakes and mishaps end in one line that names the way out, whichever script meets them."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT, refused, run_script

from train import checkpoint, config

SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for path in (*ROOT.glob("*.py"), *ROOT.glob("[!.]*/*.py"))
    if "cli.run(main)" in path.read_text(encoding="utf-8") and path.name != "test_errors.py"
)
PACKAGED = [script for script in SCRIPTS if not script.endswith("cycle_model.py")]  # needs none
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
        "", "benchmarks", "examples", "mcu", "studies", "tests",
    }  # fmt: skip


@pytest.mark.parametrize("script", PACKAGED)
def test_without_the_environment_a_script_names_the_way_to_it(script):
    done = subprocess.run([*NO_PACKAGES, script], cwd=ROOT, capture_output=True, text=True)
    line = refused(done)
    assert "is not installed for" in line
    assert "'make setup'" in line and ".venv/bin/python" in line


@pytest.mark.parametrize(
    ("script", "package"),
    [
        ("compile_tflite.py", "tflite"),
        ("check_tflite.py", "ai_edge_litert"),
        ("mcu/run_tflite.py", "ai_edge_litert"),  # beside mcu/tflite/, which is no package
        ("benchmarks/tflite_instructions.py", "ai_edge_litert"),
        ("tests/fuzz.py", "pytest"),
    ],
)
def test_a_package_of_the_second_set_is_named_with_its_target(script, package, tmp_path):
    """The packages of the first set are there: a finder hides those of the second."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Hide:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('tflite', 'pytest', 'ai_edge_litert'):\n"
        "            raise ModuleNotFoundError(f'No module named {name}', name=name)\n"
        "sys.meta_path.insert(0, Hide())\n"
    )
    done = run_script(script, PYTHONPATH=str(tmp_path))
    assert f"{package} is not installed" in refused(done) and "'make setup-all'" in done.stderr


def test_a_folder_of_ours_is_not_taken_for_the_package_tflite(tmp_path):
    (tmp_path / "numpy.py").touch()
    code = (
        f"import sys; sys.path += ['mcu', {str(tmp_path)!r}]; import startup, tinyengine.importer"
    )
    done = subprocess.run([*NO_PACKAGES, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "tflite is not installed" in refused(done)


def test_a_broken_package_is_one_line_with_its_reason(tmp_path):
    (tmp_path / "torch.py").write_text(
        "raise ImportError('libcudart: no\\nsuch file', name='torch')"
    )
    done = subprocess.run(
        [sys.executable, "training.py"],
        cwd=ROOT, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert "torch cannot be loaded (libcudart: no such file)" in refused(done)


def test_a_python_that_is_too_old_is_named():
    code = "import sys; sys.version_info = (3, 9); sys.version = '3.9.2 (old)'; import startup"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "this is Python 3.9.2; use 3.10 or newer" in refused(done)


@pytest.mark.parametrize("script", PACKAGED)
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
    folders = (".", "compiler", "qat", "train", "lowbit", "mcu", "examples")
    pipeline = [path for folder in folders for path in (ROOT / folder).glob("*.py")]
    ours = {path.stem for path in ROOT.rglob("*.py")} | {
        "compiler",
        "lowbit",
        "qat",
        "tinyengine",
        "train",
    }
    for path in pipeline:
        text = path.read_text(encoding="utf-8")
        imported = set(re.findall(r"^\s*import (\w+)", text, re.M))
        imported |= set(re.findall(r"^\s*from (\w+)[\w.]* import ", text, re.M))
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


# --- make -C mcu

MCU = ROOT / "mcu"
COMMITTED = checkpoint.MODELDATA / f"{config.run_name(config.load())}.pth"
OTHER = "FCMNIST-MNIST-2bitsym-cbcb089d"


@pytest.fixture
def project(tmp_path):
    """A copy of what make in mcu/ reads, so that a test may write to its build/."""
    for name in ("mcu", "kernels"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("build"))
    for name in ("options.mk", "cli.py", "BitNetMCU_inference.h", "BitNetMCU_inference.c"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("modeldata", "build"):
        (tmp_path / name).mkdir()
    for name in (COMMITTED.name, f"{OTHER}.pth"):
        (tmp_path / "modeldata" / name).touch()
    return tmp_path


def in_project(project, *arguments, folder=None):
    done = make(
        "-C", project / "mcu", "-n", "--no-print-directory", f"PYTHON={sys.executable}", *arguments,
        folder=folder or project,
    )  # fmt: skip
    exported = re.search(r"exportquant\.py (\S+)", done.stdout)
    return done, exported and exported[1]


def test_make_in_a_fresh_clone_takes_the_committed_network_and_says_so(project):
    done, exported = in_project(project)
    assert exported == str(project / "modeldata" / COMMITTED.name)
    first = done.stdout.splitlines()[0]
    assert first.startswith(f"NETWORK {COMMITTED.stem}: the committed one")


@pytest.mark.parametrize("absolute", [True, False])
def test_make_takes_what_was_trained_or_exported_last(absolute, project):
    own = project / "build" / "own" / "net.pth"
    own.parent.mkdir()
    own.write_bytes(b"")
    note, report = project / "build" / "last_training", project / "build" / "export.json"
    note.write_text(f"{own if absolute else 'build/own/net.pth'}\n")
    done, exported = in_project(project)
    assert exported == str(own)
    assert "NETWORK net: trained last; build/last_training says so" in done.stdout.splitlines()[0]
    report.write_text(json.dumps({"checkpoint": str(project / "modeldata" / f"{OTHER}.pth")}))
    os.utime(note, (1, 1))
    done, exported = in_project(project)
    assert exported == str(project / "modeldata" / f"{OTHER}.pth")
    assert "exported last; build/export.json says so" in done.stdout.splitlines()[0]
    done, exported = in_project(project, f"MODEL=modeldata/{COMMITTED.name}")
    assert exported == str(project / "modeldata" / COMMITTED.name)
    assert "NETWORK" not in done.stdout


@pytest.mark.parametrize("content", ["gone.pth", "", "{}", '{"checkpoint": "gone.pth"}'])
def test_a_note_that_names_no_file_is_refused(content, project):
    name = "export.json" if content.startswith("{") else "last_training"
    (project / "build" / name).write_text(content)
    line = the_line(in_project(project)[0])
    folder = "build/" * (name == "export.json")  # where its path begins
    assert f"build/{name}={folder + 'gone.pth' if 'gone' in content else ''} is no file" in line
    assert in_project(project, "clean")[0].returncode == 0


def test_model_is_looked_for_where_make_was_called_and_in_mcu(project, tmp_path):
    for folder, model in (
        (project, f"modeldata/{OTHER}.pth"),
        (project / "mcu", f"../modeldata/{OTHER}.pth"),
        (project, f"../modeldata/{OTHER}.pth"),
        (project / "modeldata", f"{OTHER}.pth"),
        (ROOT, project / "modeldata" / f"{OTHER}.pth"),
    ):
        done, exported = in_project(project, f"MODEL={model}", folder=folder)
        assert exported == str(project / "modeldata" / f"{OTHER}.pth"), done.stderr
    line = the_line(in_project(project, "MODEL=nope.pth")[0])
    assert "MODEL=nope.pth is no file" in line and str(project) in line and "MODEL=" in line


def test_other_files_are_looked_for_there_too(project):
    (project / "own").mkdir()
    (project / "own" / "handler.c").touch()
    done, _ = in_project(project, "OUT=firmware", "EXTRA=own/handler.c")
    assert f"{project}/firmware/CH32V003" in done.stdout and "extra-handler.o" in done.stdout
    assert "EXTRA=none.c is no file" in the_line(in_project(project, "EXTRA=none.c")[0])


@pytest.mark.parametrize(
    ("mistake", "hint"),
    [
        ("TARGTE=CH32V003", "TARGTE is no variable of this Makefile; did you mean 'TARGET'?"),
        ("model=x.pth", "did you mean 'MODEL'?"),
        ("TARGET=CH32V03", "did you mean 'CH32V00"),
        ("TARGET=cortex-m", "did you mean 'cortex-m"),
        ("KERNELS=assmbly", "did you mean 'assembly'?"),
        ("PLACE=ram", "did you mean 'sram'?"),
        ("CONSOLE=uart", "did you mean 'usart'?"),
    ],
)
def test_what_is_misspelt_for_make_in_mcu_is_refused_with_a_suggestion(mistake, hint):
    assert hint in the_line(make("-C", MCU, mistake))


def test_make_in_mcu_without_the_environment_names_make_setup(tmp_path):
    line = the_line(make("-C", MCU, f"VENV={tmp_path}"))
    assert f"there is no {tmp_path}/bin/python; run 'make setup' in {ROOT}" in line


def test_make_in_mcu_with_a_python_without_packages_names_make_setup(tmp_path):
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    done = make("-C", MCU, "VENV=.", f"OUT={tmp_path}/out", f"MODEL={COMMITTED}", folder=tmp_path)
    assert "is not installed" in the_line(done) and "'make setup'" in the_line(done)


# --- export without a training


def test_export_without_a_training_is_refused_and_writes_nothing(tmp_path):
    for note in (None, "", "\n"):
        if note is not None:
            (tmp_path / checkpoint.LAST_RUN).write_text(note)
        line = refused(run_script("exportquant.py", "--build", tmp_path))
        assert f"nothing was trained in {tmp_path} yet; run training.py --build {tmp_path}" in line
        assert "modeldata/" in line
    line = refused(run_script("exportquant.py", "--build", tmp_path / "none"))
    assert "nothing was trained" in line and not (tmp_path / "none").exists()
    assert {path.name for path in tmp_path.iterdir()} == {checkpoint.LAST_RUN}


def test_the_note_of_a_training_serves_from_every_folder(tmp_path):
    options = ("dataset=Digits", "num_epochs=1", "widths=5,5", "--build", tmp_path)
    out = os.path.relpath(tmp_path / "models", ROOT)
    assert run_script("training.py", *options, "--out", out).returncode == 0
    done = subprocess.run(
        [sys.executable, ROOT / "exportquant.py", "--build", "."],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
