"""The scripts as a user runs them: configuration, training, export, parity, studies."""

import csv
import importlib.util
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, random_network, refused, run_script
from matplotlib import pyplot

import BitNetMCU
import exportquant
import modelcard
import study
import test_inference
import training
from cli import UserError
from compiler import operators
from compiler.formats import FORMATS
from lowbit import kernelrows, lowering
from lowbit.maps import Windows
from lowbit.rules import IntegerLayer
from train import checkpoint, config, epochs, loaders, plots, schedules

QUICK = ("dataset=Digits", "num_epochs=2", "widths=17,9")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder in which training.py and exportquant.py have run on the embedded data."""
    build = tmp_path_factory.mktemp("build")
    for command in (("training.py", *QUICK, "--out", build), ("exportquant.py",)):
        done = run_script(*command, "--build", build)
        assert done.returncode == 0, done.stderr
    return build


# --- training


def test_training_is_repeatable_byte_by_byte(settings, tmp_path):
    first, again = (training.train(settings, tmp_path / folder, report=str) for folder in "ab")
    other = training.train(replace(settings, seed=1), tmp_path, report=str)
    assert first.read_bytes() == again.read_bytes()
    first, other = (checkpoint.load(path).network.layers[0].weight for path in (first, other))
    assert not torch.equal(first, other)


def test_each_epoch_takes_every_sample_once_in_a_new_order(settings):
    seen = []

    class Recorder(torch.nn.Module):
        def forward(self, x):
            seen.append(x[:, 0].tolist())
            return torch.stack([x[:, 0], -x[:, 0]], 1) * self.weight

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def update_clipping(self):
            pass

        def follow_scales(self, early):
            pass

    network = Recorder()
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    samples = torch.arange(10, dtype=torch.int8)[:, None], torch.zeros(10, dtype=torch.long)
    generator = torch.Generator().manual_seed(0)
    for epoch in (1, 2):
        epochs.train_epoch(
            network, [optimizer], samples, replace(settings, batch_size=4), generator, epoch
        )
    assert [len(batch) for batch in seen] == [4, 4, 2] * 2
    orders = [sum(seen[:3], []), sum(seen[3:], [])]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(10))
    assert orders[0] != orders[1] != list(range(10))


def test_training_learns_the_digits(settings, tmp_path):
    for aware in (False, True):
        changes = {"num_epochs": 15, "widths": [32, 32], "shiftnorm_aware": aware}
        path = training.train(replace(settings, **changes), tmp_path, report=lambda line: None)
        metrics = checkpoint.load(path).metrics
        assert metrics["test_accuracy"] > 85
        assert abs(metrics["test_accuracy"] - metrics["test_accuracy_float"]) < 3


def test_epoch_rows_have_every_column(settings, tmp_path):
    lines = []
    changes = replace(settings, validation_samples=200, maxw_update_until_epoch=1)
    path = training.train(changes, tmp_path, report=lines.append)
    with path.with_suffix(".csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(lines) - 1 == 2 and lines[0].startswith("data: 1147 samples to train")
    for key in ("train_loss", "validation_accuracy", "clip3", "entropy1", "seconds"):
        assert all(float(row[key]) >= 0 for row in rows)
    assert rows[0]["clip1"] == rows[1]["clip1"]  # updated in the first epoch only
    assert not list(tmp_path.glob("*.partial.csv"))


def test_accuracies_count_all_samples(settings, tmp_path):
    path = training.train(replace(settings, validation_samples=131), tmp_path, report=str)
    metrics = checkpoint.load(path).metrics
    for accuracy, count in ((metrics["validation_accuracy"], 131), (metrics["test_accuracy"], 450)):
        assert accuracy * count / 100 == pytest.approx(round(accuracy * count / 100), abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "reference"),
    [
        (
            {"scheduler": "Cosine", "num_epochs": 12},
            lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 12),
        ),
        (
            {"scheduler": "StepLR", "step_size": 3, "lr_decay": 0.1},
            lambda o: torch.optim.lr_scheduler.StepLR(o, 3, 0.1),
        ),
        (
            {"scheduler": "CosineWarmRestarts", "restart_epochs": 2, "restart_factor": 2},
            lambda o: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 2, 2),
        ),
    ],
)
def test_learning_rate_schedules_are_torchs(changes, reference):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1)
    scheduler = reference(optimizer)
    for epoch in range(1, 13):
        rate = schedules.factor(replace(config.load(), **changes), epoch)
        assert rate == pytest.approx(scheduler.get_last_lr()[0], abs=1e-9)
        halved = schedules.factor(replace(config.load(), **changes, halve_lr_epoch=5), epoch)
        assert halved == pytest.approx(rate * (0.5 if epoch > 5 else 1))
        optimizer.step()
        scheduler.step()


def stop_after_an_epoch(folder, signal_number, *overrides):
    """Start a long training, send it a signal after its first epoch; returns the process."""
    command = [sys.executable, "training.py", "dataset=Digits", *overrides, "--out", folder]
    process = subprocess.Popen(
        [*command, "--build", folder],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not list(folder.glob("*.partial.pth")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal_number)
    process.wait(timeout=60)
    return process


def test_interrupt_changes_no_finished_file_and_says_how_to_go_on(tmp_path):
    process = stop_after_an_epoch(tmp_path, signal.SIGINT, "num_epochs=2000")
    assert process.returncode == 130
    message = process.stderr.read()
    assert "Traceback" not in message and "training.py resume=" in message
    suffixes = {"".join(path.suffixes) for path in tmp_path.iterdir()}
    assert suffixes == {".partial.csv", ".partial.pth"}


def test_a_killed_run_goes_on_bit_identically(tmp_path):
    overrides = ("num_epochs=40", "validation_samples=100", "widths=17,9")
    settings = config.load(overrides=["dataset=Digits", *overrides])
    process = stop_after_an_epoch(tmp_path, signal.SIGKILL, *overrides)
    assert process.returncode == -signal.SIGKILL
    (partial,) = tmp_path.glob("*.partial.pth")
    done = run_script("training.py", f"resume={partial}", "--build", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "epoch  1/40" not in done.stdout and "epoch 40/40" in done.stdout
    assert not list(tmp_path.glob("*.partial.*"))
    whole = training.train(settings, tmp_path / "whole", report=str)
    resumed, straight = (
        checkpoint.load(path).network.state_dict() for path in (tmp_path / whole.name, whole)
    )
    assert all(torch.equal(resumed[key], straight[key]) for key in straight)


def test_resume_takes_no_other_overrides_and_only_its_own_files(trained, tmp_path):
    (path,) = trained.glob("*.pth")
    assert "leave out the other overrides" in refused(
        run_script("training.py", f"resume={path}", "seed=1")
    )
    assert "not written by training.py" in refused(run_script("training.py", f"resume={path}"))
    assert "cannot read" in refused(run_script("training.py", "resume=none.pth"))


def test_statistics_of_activations_are_those_of_the_exported_network(trained):
    (path,) = trained.glob("*.pth")
    loaded = checkpoint.load(path)
    dataset = loaders.load(loaded.settings)
    inputs = loaded.pixels(dataset.train_images)
    row = epochs.layer_statistics(loaded.network, inputs)
    graph = lowering.lower(loaded.network)
    values = operators.execute(graph, inputs.numpy())
    norms = [step for step in graph.operators if step.kind == "SHIFTNORM_RELU"]
    for index, step in enumerate(norms, start=1):
        assert row[f"positive{index}"] == pytest.approx((values[step.outputs[0]] > 0).mean())
    counted = [inputs.numpy(), *(values[step.outputs[0]] for step in norms)]
    for index, each in enumerate(counted):
        ones = sum(bin(value).count("1") for value in each.flatten())
        assert row[f"bits{index}"] == pytest.approx(ones / len(inputs))
    report = json.loads((trained / exportquant.REPORT).read_text())
    assert report["set_bits"] == [row[f"bits{index}"] for index in range(len(counted))]
    assert f"behind each layer: {row['bits0']:.0f}, " in (trained / "report.txt").read_text()


def test_set_bits_of_negative_inputs_are_those_of_twos_complement():
    values = torch.tensor([[5, 0, 127], [-1, -128, 1]], dtype=torch.int8)
    assert epochs.set_bits(values) == (2 + 7 + 8 + 1 + 1) / 2
    assert epochs.set_bits(torch.tensor([[3.0], [4.0]])) == 1.5


def test_tensorboard_gets_the_rows_or_says_what_to_install(tmp_path):
    done = run_script("training.py", *QUICK, "--out", tmp_path, "--tensorboard", tmp_path / "tb")
    if importlib.util.find_spec("tensorboard"):
        assert done.returncode == 0 and list((tmp_path / "tb").glob("*/events*"))
    else:
        assert "pip install tensorboard" in refused(done)


# --- checkpoints and export


def test_missing_truncated_and_foreign_checkpoints_are_refused(trained, tmp_path):
    (good,) = trained.glob("*.pth")
    bad = tmp_path / "bad.pth"
    assert "cannot read the checkpoint" in refused(
        run_script("exportquant.py", tmp_path / "none.pth", "--build", tmp_path)
    )
    foreign = {"weights": torch.zeros(3)}
    for content in (b"", b"hello", good.read_bytes()[:2000], good.read_bytes()[:-100], foreign):
        if isinstance(content, bytes):
            bad.write_bytes(content)
        else:
            torch.save(content, bad)
        line = refused(run_script("exportquant.py", bad, "--build", tmp_path))
        assert "truncated or was not written by training.py" in line
    assert list(tmp_path.iterdir()) == [bad]


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["architecture"]["layers"][0].update(out_features=5),
        lambda content: content["architecture"]["layers"][0].update(kind="Linear"),
        lambda content: content["architecture"]["layers"][1].update(alpha=5),
        lambda content: content.update(architecture=3),
        lambda content: content.update(config=3),
        lambda content: content.update(samples=[1]),
        lambda content: content.update(classes=None),
        lambda content: content.update(metrics={}),
        lambda content: content["state_dict"]["layers.0.weight"].fill_(float("nan")),
    ],
)
def test_checkpoint_with_foreign_entries_is_refused(change, trained, tmp_path):
    (good,) = trained.glob("*.pth")
    content = torch.load(good, weights_only=True)
    change(content)
    torch.save(content, tmp_path / "bad.pth")
    with pytest.raises(UserError, match="not written by training.py"):
        checkpoint.load(tmp_path / "bad.pth")


def test_checkpoints_with_flipped_bits_are_refused_or_unharmed(trained, tmp_path, rng):
    (good,) = trained.glob("*.pth")
    data, weights = good.read_bytes(), checkpoint.load(good).network.state_dict()
    for _ in range(300):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= 1 << rng.integers(8)
        (tmp_path / "bad.pth").write_bytes(damaged)
        try:
            loaded = checkpoint.load(tmp_path / "bad.pth").network.state_dict()
        except UserError:
            continue
        assert all(torch.equal(loaded[key], weights[key]) for key in weights)


def test_float_networks_are_not_exported(settings, tmp_path):
    path = training.train(replace(settings, QuantType="None"), tmp_path, report=str)
    with pytest.raises(UserError, match="no integer form"):
        exportquant.export(path, tmp_path / "build")
    assert not (tmp_path / "build").exists()


def test_export_is_reproducible_byte_by_byte(trained, tmp_path):
    (path,) = trained.glob("*.pth")
    exportquant.export(path, tmp_path)
    for name in (exportquant.MODEL_HEADER, exportquant.TEST_DATA_HEADER):
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes()


def test_header_names_checkpoint_and_settings(trained):
    text = (trained / exportquant.MODEL_HEADER).read_text()
    (path,) = trained.glob("*.pth")
    assert checkpoint.load(path).sha256 in text
    assert path.stem in text and "widths: [17, 9]" in text


@pytest.mark.parametrize("optimise", kernelrows.OPTIMISE)
def test_the_exported_folder_stands_alone(optimise, trained, tmp_path):
    """What export.json names compiles with nothing but the folder."""
    (path,) = trained.glob("*.pth")
    exportquant.export(path, tmp_path / "b", optimise=optimise)
    report = json.loads((tmp_path / "b" / exportquant.REPORT).read_text())
    assert not Path(report["checkpoint"]).is_absolute()
    assert exportquant.read_report(tmp_path / "b")["sha256"] == checkpoint.load(path).sha256
    (tmp_path / "b").rename(tmp_path / "c")
    main = tmp_path / "c" / "main.c"
    main.write_text(
        '#include "BitNetMCU_model.h"\n#include <stdio.h>\nint main(void) {\n'
        "    static int8_t input[BITNETMCU_INPUTS];\n    int32_t logits[BITNETMCU_CLASSES];\n"
        '    printf("%u", (unsigned)BitNetMCU_infer(input, logits));\n    return 0;\n}\n'
    )
    flags = ["cc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Ikernels"]
    subprocess.run([*flags, "-o", "program", main, *report["sources"]], cwd=main.parent, check=True)
    done = subprocess.run([main.parent / "program"], capture_output=True, text=True, check=True)
    assert done.stdout == report["empty_input"]["class"]
    assert (main.parent / "report.txt").read_text().startswith("layer 1: 256 -> 17")
    for file in report["assembly"]:
        assert (main.parent / file).is_file()


def test_report_accounts_for_bits_and_bytes(trained):
    report = json.loads((trained / exportquant.REPORT).read_text())
    assert [layer["bytes"] for layer in report["layers"]] == [17 * 128, 9 * 12, 10 * 8]
    assert report["weights"] == 256 * 17 + 17 * 9 + 9 * 10
    assert report["buffer_bytes"] == report["arena"] == 17 * 4  # activations in their place
    for layer in report["layers"]:
        assert sum(layer["levels_percent"].values()) == pytest.approx(100)


def test_hostile_names_do_not_break_the_header(trained, tmp_path):
    (good,) = trained.glob("*.pth")
    odd = shutil.copy(good, tmp_path / 'my "best" net.pth')
    exportquant.export(odd, tmp_path)
    compiled = subprocess.run(
        ["make", "-s", "ctest", f"BUILD={tmp_path}"], cwd=ROOT, capture_output=True, text=True
    )
    assert compiled.returncode == 0 and 'network my "best" net' in compiled.stdout


@pytest.mark.parametrize("command", [("training.py", *QUICK), ("exportquant.py",)])
def test_a_file_in_place_of_a_folder_is_refused_before_any_work(command, trained, tmp_path):
    (tmp_path / "file").write_text("")
    if command[0] == "exportquant.py":
        command += (next(trained.glob("*.pth")),)
    line = refused(run_script(*command, "--build", tmp_path / "file"))
    assert "choose another folder" in line
    assert (tmp_path / "file").read_text() == ""


def test_test_images_take_every_class_in_turn():
    labels = torch.tensor([2, 2, 0, 2, 1, 0])
    assert checkpoint.choose_samples(labels, 3, count=5) == [2, 4, 0, 5, 1]
    assert checkpoint.choose_samples(labels, 4, count=9) == [2, 4, 0, 5, 1, 3]


def assert_pictures(folder):
    names = {"weights.png", "confusion.png", "first_layer.png", "misread.png"}
    assert {path.name for path in folder.iterdir()} == names
    for path in folder.iterdir():
        pixels = pyplot.imread(path)
        assert min(pixels.shape[:2]) > 100 and pixels[..., :3].std() > 0.02


def test_plots_are_pictures(trained, tmp_path):
    done = run_script("exportquant.py", "--build", trained, "--plots", tmp_path)
    assert done.returncode == 0, done.stderr
    assert_pictures(tmp_path)


def test_plots_of_windows_are_pictures(tmp_path):
    overrides = ["model=WindowMNIST", "image_size=8", "layers=conv 4x3/2 5, dense 8"]
    settings = config.load(overrides=[*overrides, "dataset=Digits", "num_epochs=1"])
    path = training.train(settings, tmp_path, report=str)
    exportquant.export(path, tmp_path, pictures=tmp_path / "plots")
    assert_pictures(tmp_path / "plots")


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, laid out, instead of their files."""
    drawn = []

    def save(figure, path):
        figure.draw_without_rendering()
        drawn.append(figure)

    monkeypatch.setattr(plots, "save", save)
    with pyplot.rc_context(plots.STYLE):
        yield drawn
    pyplot.close("all")


@pytest.mark.parametrize("outputs", [1, 3, 16, 64])
def test_nothing_of_the_first_layers_picture_is_cut(outputs, figures, rng):
    plots.first_layer(random_network(rng, ["2bitsym"], (256, outputs)), (16, 16), None)
    (figure,) = figures
    parts = [axis.get_tightbbox() for axis in figure.axes] + [figure._suptitle.get_window_extent()]
    for box in parts:
        assert box.x0 >= 0 and box.y0 >= 0
        assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1


def test_kernels_are_drawn_in_one_scale_the_largest_norm_first(figures, rng):
    row = FORMATS["4bitsym"]
    weights = rng.choice(row.levels, (70, 12)).astype(np.int32)
    chain = lowering.Chain("test", 80, lowering.IMAGES)
    chain.as_map((10, 8), 1)
    chain.convolution(IntegerLayer(row, weights), Windows((10, 8), 1, (4, 3), (2, 2)))
    plots.first_layer(chain.graph(), (10, 8), None)
    (figure,) = figures
    images = [image for axis in figure.axes for image in axis.images]
    drawn = np.stack([image.get_array() for image in images])
    expected = sorted(weights, key=lambda kernel: -np.square(kernel).sum())[:64]
    assert np.array_equal(drawn, np.reshape(expected, (64, 4, 3)))
    assert {image.get_clim() for image in images} == {(-15, 15)}
    title = figure.get_suptitle()
    assert "4x3/2x2 at 4x3: 12x70, 4bitsym" in title and "64 of 70 outputs" in title


@pytest.mark.parametrize("epochs", [2, 60])
def test_curves_have_whole_epochs_and_legends_beside_them(epochs, figures, tmp_path):
    specification = importlib.util.spec_from_file_location(
        "docs_plots", ROOT / "benchmarks/figures.py"
    )
    docs_plots = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(docs_plots)
    (path,) = checkpoint.MODELDATA.glob("*-4bitsym-34f0e50b.csv")
    lines = path.read_text().splitlines()[: 1 + epochs]
    (tmp_path / "run.csv").write_text("\n".join(lines))
    docs_plots.draw_curves(tmp_path / "run.csv", None)
    (figure,) = figures
    for axis in figure.axes:
        assert all(tick == round(tick) for tick in axis.get_xticks())
        assert not axis.get_legend().get_window_extent().overlaps(axis.bbox)
        assert axis.get_title()


def test_a_confusion_matrix_without_mistakes_is_white(tmp_path):
    plots.confusion_matrix(np.arange(3), np.arange(3), ("a", "b", "c"), tmp_path / "c.png")
    red, _, blue = pyplot.imread(tmp_path / "c.png")[..., :3].transpose(2, 0, 1)
    assert (red - blue > 0.2).mean() < 0.1  # the colour bar


# --- parity


def test_parity_holds_and_its_last_line_says_so(trained):
    done = run_script("test_inference.py", "--build", trained)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(
        r"images=450 differing_values=0 differing_values_multiplier=0 differing_predictions=0 "
        r"accuracy_c=(\d+\.\d\d) accuracy_pytorch=\1 accuracy_float=\d+\.\d\d seconds=\d+\.\d",
        done.stdout.strip().splitlines()[-1],
    )


def test_one_changed_weight_is_found(trained, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "build")
    header = folder / exportquant.MODEL_HEADER
    before, weights = header.read_text().split("_weights_1[", 1)
    start, word, end = re.split(r"(0x[0-9a-f]{8})", weights, maxsplit=1)
    word = f"0x{int(word, 16) ^ (1 << 30):08x}"
    header.write_text(f"{before}_weights_1[{start}{word}{end}")
    done = run_script("test_inference.py", "--build", folder)
    assert done.returncode == 1
    assert "differing_values=0 " not in done.stdout


def test_missing_and_stale_exports_are_refused(trained, tmp_path):
    for folder in (tmp_path, tmp_path / "none", next(trained.glob("*.pth"))):
        line = refused(run_script("test_inference.py", "--build", folder))
        assert "run exportquant.py first" in line
    folder = shutil.copytree(trained, tmp_path / "build")
    report = json.loads((folder / exportquant.REPORT).read_text())
    (folder / exportquant.REPORT).write_text(json.dumps(report | {"sha256": "0"}))
    assert "not exported from" in refused(run_script("test_inference.py", "--build", folder))
    for text in ("{", "[]", '{"checkpoint": 3, "sha256": ""}'):
        (folder / exportquant.REPORT).write_text(text)
        assert "is damaged" in refused(run_script("test_inference.py", "--build", folder))


def test_c_program_checks_the_embedded_logits(trained, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "build")
    command = ["make", "-s", "ctest", f"BUILD={folder}"]
    good = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert good.returncode == 0 and "differing_logits=0" in good.stdout
    header = folder / exportquant.TEST_DATA_HEADER
    text = header.read_text()
    declaration, logit, rest = re.split(r"(?<=\{\n    )(-?\d+)", text, maxsplit=0)[-3:]
    start = text.removesuffix(declaration + logit + rest)
    header.write_text(start + declaration + str(int(logit) + 1) + rest)
    bad = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert bad.returncode != 0 and "differing_logits=1" in bad.stdout


COMMITTED = sorted(checkpoint.MODELDATA.glob("*.pth"))


@pytest.mark.parametrize("scale", BitNetMCU.WEIGHT_SCALES)
@pytest.mark.parametrize("optimise", kernelrows.OPTIMISE)
@pytest.mark.parametrize("algorithm", BitNetMCU.CLIPPING)
def test_mixed_formats_go_through_the_whole_chain(algorithm, optimise, scale, settings, tmp_path):
    changes = {"QuantType": ["Ternary", "NF4", "5bitsym"], "WScale": scale}
    changes |= {"maxw_algo": algorithm, "num_epochs": 8, "widths": [33, 20]}
    path = training.train(replace(settings, **changes), tmp_path, report=lambda line: None)
    report = exportquant.export(path, tmp_path, optimise=optimise)
    assert [layer["format"] for layer in report["layers"]] == changes["QuantType"]
    assert [layer["factor_bytes"] for layer in report["layers"]] == (
        [33, 20, 10] if scale == "PerOutput" else [0, 0, 0]
    )
    parity = test_inference.compare(tmp_path)
    assert {key: parity[key] for key in parity if key.startswith("differing")} == {
        "differing_values": 0,
        "differing_values_multiplier": 0,
        "differing_predictions": 0,
    }
    assert parity["accuracy_c"] > 60


def test_another_network_in_the_same_folder_is_what_is_compared(settings, tmp_path):
    """A library of that path is loaded by then."""
    for widths in ([12, 12], [40, 30]):
        changed = replace(settings, widths=widths, num_epochs=1)
        path = training.train(changed, tmp_path / "models", report=lambda line: None)
        exportquant.export(path, tmp_path)
        result = test_inference.compare(tmp_path)
        assert result["differing_values"] == result["differing_predictions"] == 0


WEIGHT_BYTES = {  # of each committed network, as in the README
    "0c935144": 7_552,
    "34f0e50b": 12_608,
    "9c379a45": 1_136,
    "dc780966": 12_608,
    "e8f6f359": 12_608,
    "2b83eba3": 11_720,
    "fab8baaf": 10_992,
    "3f24ea0e": 12_608,
    "cbcb089d": 1_128,
    "e4f34a5a": 3_152,
    "f960370f": 5_536,
    "4ef7f907": 6_304,
    "bb14324e": 12_608,
    "3a490da1": 12_608,
    "b1cbebfd": 10_992,
    "c9ee3c2f": 11_720,
    "7e48226c": 1_088,
    "c3e1e8f4": 6_208,
    "b3120c13": 7_872,
    "4f93fa37": 8_352,
    "797e648b": 5_952,
}


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_models_agree_on_all_mnist_test_images(path, mnist, tmp_path):
    report = exportquant.export(path, tmp_path)
    result = test_inference.compare(tmp_path)
    assert result["images"] == 10_000
    assert result["differing_values"] == result["differing_predictions"] == 0
    assert result["accuracy_c"] == result["accuracy_pytorch"] == pytest.approx(report["accuracy"])
    assert result["accuracy_float"] == pytest.approx(report["accuracy_float"])
    assert checkpoint.load(path).metrics["test_accuracy"] == pytest.approx(result["accuracy_c"])
    assert report["weight_bytes"] == WEIGHT_BYTES[path.stem.split("-")[3]]


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_models_have_a_card_with_their_numbers(path, mnist, tmp_path):
    trained = checkpoint.load(path)
    studies = [f"docs/study-{name}.csv" for name in ("fc", "few-bits", "windows", "convolutions")]
    seeds = {
        name: modelcard.seeds_of(trained.settings, study.read_rows(ROOT / name)) for name in studies
    }
    ((name, rows),) = ((name, rows) for name, rows in seeds.items() if rows)
    assert len(rows) >= 5 and study.differing(rows) == 0
    report = exportquant.export(path, tmp_path)
    relative = replace(trained, path=path.relative_to(ROOT))
    card = modelcard.card(relative, report, rows, name)
    assert path.with_suffix(".md").read_text() == card


@pytest.mark.long
def test_committed_parameters_give_the_committed_accuracy(mnist, tmp_path):
    """A full training; other versions of torch may round otherwise, so not bit for bit."""
    path = training.train(config.load(), tmp_path, report=str)
    accuracy = checkpoint.load(path).metrics["test_accuracy"]
    committed_accuracy = checkpoint.load(checkpoint.MODELDATA / path.name).metrics["test_accuracy"]
    assert abs(accuracy - committed_accuracy) < 0.4


def test_committed_parameters_name_a_committed_model():
    assert (checkpoint.MODELDATA / f"{config.run_name(config.load())}.pth").is_file()
