"""What a checkpoint says is what is exported; own networks; several networks in one program."""

import itertools
import subprocess
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from conftest import MEASURED, OWN_HEAD, ROOT, STRICT, compiler, refused, run_script, write_own
from torch import nn

import BitNetMCU
import exportquant
import test_inference
import training
from BitNetMCU import BatchNormBitLinear, BitLinear
from cli import UserError
from compiler.operators import run
from lowbit import kernelrows, lowering
from train import checkpoint, models

OWN = OWN_HEAD + (
    "class Own(nn.Sequential):\n    def __init__(self, i, c, config):\n"
    "        super().__init__(BitLinear(i, 12, '2bitsym'), nn.ReLU(), BitLinear(12, c, '8bit'))\n"
)
EVIL = "from pathlib import Path\nPath('{mark}').write_text('ran')\n"


@pytest.fixture
def own(tmp_path, settings):
    """(the file of a user's network, its checkpoint)."""
    file = tmp_path / "own.py"
    file.write_text(OWN)
    settings = replace(settings, model=f"{file}:Own", num_epochs=3)
    return file, training.train(settings, tmp_path, report=str)


def exported(path, folder):
    exportquant.export(path, folder)
    return [(folder / name).read_bytes() for name in ("BitNetMCU_model.h", "export.json")]


# --- the file of a network


@pytest.mark.parametrize("change", ["missing", "changed", "evil"])
def test_export_and_parity_do_not_look_at_the_users_file(change, own, tmp_path):
    file, path = own
    before = exported(path, tmp_path / "before")
    mark = tmp_path / "ran"
    contents = {"changed": OWN.replace("12", "13"), "evil": EVIL.format(mark=mark) + OWN}
    file.unlink() if change == "missing" else file.write_text(contents[change])
    assert exported(path, tmp_path / "after") == before
    assert test_inference.compare(tmp_path / "after")["differing_values"] == 0
    assert not mark.exists()


def test_a_checkpoint_that_names_a_file_runs_nothing(own, tmp_path):
    file, path = own
    mark = tmp_path / "ran"
    (tmp_path / "evil.py").write_text(EVIL.format(mark=mark) + OWN)
    for keys in ((), ("architecture",)):  # the second as of an older version
        content = torch.load(path, weights_only=True)
        content["config"]["model"] = f"{tmp_path}/evil.py:Own"
        for key in keys:
            del content[key]
        torch.save(content, tmp_path / "evil.pth")
        done = run_script("exportquant.py", tmp_path / "evil.pth", "--build", tmp_path / "b")
        if keys:
            assert "only training runs; train it anew" in refused(done)
        else:
            assert done.returncode == 0, done.stderr
    assert not mark.exists()


def test_architecture_builds_the_same_network_again(settings):
    for changes in (
        {"bias": "all", "WScale": "PerOutput", "NormType": "Lin"},
        {"QuantType": "None", "activation": "GELU", "NormType": "BatchNorm"},
        {"QuantType": ["Binary", "NF4", "FP130"], "maxw_algo": "prop", "shiftnorm_aware": False},
    ):
        network = models.build(replace(settings, **changes), 20, 5).train()
        again = BitNetMCU.from_architecture(network.architecture())
        again.load_state_dict(network.state_dict())
        assert str(again.layers) == str(network.layers)
        assert again.architecture() == network.architecture()
        x = torch.randint(0, 128, (9, 20)).float()
        assert torch.equal(network.eval()(x), again.eval()(x))
        assert torch.equal(network.train()(x), again.train()(x))


def test_older_files_without_architecture_and_samples_load(settings, tmp_path):
    path = training.train(settings, tmp_path, report=str)
    new = exported(path, tmp_path / "new")
    content = torch.load(path, weights_only=True)
    for key in ("architecture", "samples", "class_names", "channel_names", "input_map"):
        del content[key]
    torch.save(content, path)
    exported(path, tmp_path / "old")
    data = [(tmp_path / f / exportquant.TEST_DATA_HEADER).read_text() for f in ("new", "old")]
    rows = [text[text.index("static") :] for text in data]
    assert rows[0] == rows[1] and new


def test_a_file_is_enough_to_export_but_not_for_the_whole_test_set(settings, tmp_path):
    x, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 3
    file = tmp_path / "x.npz"
    np.savez(file, x_train=x, y_train=y, x_test=x[:12], y_test=y[:12])
    changes = {"dataset": str(file), **MEASURED}
    path = training.train(replace(settings, **changes), tmp_path, report=str)
    whole = exported(path, tmp_path / "whole")
    file.unlink()
    assert exported(path, tmp_path / "alone") == whole
    make = ["make", "-s", "ctest", f"BUILD={tmp_path / 'alone'}"]
    done = subprocess.run(make, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "differing_logits=0" in done.stdout
    for command in (
        ("test_inference.py", "--build", tmp_path / "alone"),
        ("exportquant.py", path, "--build", tmp_path / "alone", "--plots", tmp_path / "plots"),
    ):
        line = refused(run_script(*command))
        assert "needs the data" in line and "x.npz" in line


def test_committed_networks_are_exported_without_their_data(tmp_path):
    """The proxy that does not exist stands for a machine without a network."""
    offline = {"BITNETMCU_DATA": str(tmp_path / "none"), "https_proxy": "http://127.0.0.1:9"}
    paths = sorted(checkpoint.MODELDATA.glob("*.pth"))
    assert len(paths) > 20
    for path in paths:
        done = run_script("exportquant.py", path, "--build", tmp_path / path.stem, **offline)
        assert done.returncode == 0, done.stderr
    make = ["make", "-s", "ctest", f"BUILD={tmp_path / paths[0].stem}"]
    done = subprocess.run(make, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "differing_logits=0" in done.stdout


def test_a_file_is_enough_where_its_folder_of_images_is_gone(settings, tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(10):
            pixels = rng.integers(0, 256, (9, 9), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    path = training.train(replace(settings, dataset="photos"), tmp_path, report=str)
    monkeypatch.chdir(ROOT)
    exportquant.export(path, tmp_path / "b")
    with pytest.raises(UserError, match="needs the data.*no folder photos"):
        test_inference.compare(tmp_path / "b")


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["architecture"]["layers"][0].update(out_features=10**9),
        lambda c: c["confidence"].update(source="*/ int injected; /*"),
        lambda c: c["confidence"].update(threshold="1\nint injected;"),
        lambda c: c.update(confidence="x"),
        lambda c: c["input_map"].update(low=[1.5] * 3),
        lambda c: c["input_map"].update(high=[-(2**29)] * 3),
        lambda c: c["input_map"].update(units=[1.0]),
        lambda c: c["input_map"].update(units=["1"] * 2),
        lambda c: c["samples"]["labels"].add_(1000),
        lambda c: c["samples"].update(labels=c["samples"]["labels"][:-1]),
        lambda c: c["samples"].update(of_test_samples="*/ #error"),
    ],
)
def test_entries_of_a_file_that_cannot_be_are_refused(change, tmp_path, settings):
    x, y = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 3
    np.savez(tmp_path / "x.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    changes = {"dataset": str(tmp_path / "x.npz"), **MEASURED, "num_epochs": 1}
    path = training.train(replace(settings, **changes), tmp_path, report=str)
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)
    with pytest.raises(UserError, match="not written by training.py"):
        checkpoint.load(path)


@pytest.fixture
def stopped(settings, tmp_path):
    """(a function that goes on with a run on x.npz, which was stopped after an epoch, its file)."""
    x, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 3
    file = tmp_path / "x.npz"
    np.savez(file, x_train=x, y_train=y, x_test=x, y_test=y)
    settings = replace(settings, dataset=str(file), **MEASURED, num_epochs=2)

    def interrupt(row):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.train(settings, tmp_path, report=str, log=interrupt)
    (partial,) = tmp_path.glob("*.partial.pth")

    def go_on():
        saved, state = checkpoint.load_partial(partial)
        assert saved == settings and len(state.rows) == 1
        return training.train(saved, tmp_path, report=str, state=state)

    return go_on, partial


def test_a_stopped_run_goes_on_with_the_same_data_only(stopped, tmp_path):
    go_on, _ = stopped
    before = dict(np.load(tmp_path / "x.npz"))
    np.savez(tmp_path / "x.npz", **before | {"y_train": before["y_train"][::-1]})
    with pytest.raises(UserError, match="the data has changed"):
        go_on()
    np.savez(tmp_path / "x.npz", **before)
    assert go_on().is_file()


@pytest.mark.parametrize("key", ["network", "optimizer", "generator", "rows"])
def test_a_stopped_run_needs_all_but_the_hash_of_its_data(key, stopped):
    go_on, partial = stopped
    content = torch.load(partial, weights_only=True)
    assert list(content) == ["config", "network", "optimizer", "generator", "rows", "data"]
    del content["data"]  # as in files of older versions
    torch.save(content, partial)
    assert go_on().is_file()
    del content[key]
    torch.save(content, partial)
    with pytest.raises(UserError, match="not written by training.py"):
        go_on()


def test_a_changed_weight_in_a_file_is_found_when_it_is_loaded(settings, tmp_path):
    path = training.train(replace(settings, num_epochs=3), tmp_path, report=str)
    content = torch.load(path, weights_only=True)
    content["state_dict"]["layers.4.weight"][0] *= -1
    torch.save(content, path)
    with pytest.raises(UserError, match="does not give the logits that it was saved with"):
        checkpoint.load(path)


# --- own networks


FOUR = "'4bitsym'"
FORWARD = "    def forward(self, x):\n        return self[0](x)\n"
PAIR = f"BitLinear(i, 8, {FOUR}), nn.ReLU(), BitLinear(8, c, {FOUR})"


def test_own_networks_get_the_settings_as_a_dict(settings, tmp_path):
    settings = replace(settings, model=f"{tmp_path / 'own.py'}:Own")
    values = repr(asdict(settings))
    write_own(tmp_path, "BitLinear(i, c, '4bitsym')", f"        assert config == {values}\n")
    assert len(models.build(settings, 16, 3).layers) == 1


@pytest.mark.parametrize(
    ("layers", "extra", "expected"),
    [
        (PAIR, FORWARD, "Own overrides forward()"),
        (f"nn.Sequential({PAIR}), Skip()", "class Skip(nn.Sequential):\n" + FORWARD, "Skip over"),
        (f"BitLinear(i, 8, {FOUR}), nn.ReLU(), *[BitLinear(8, 8, {FOUR}), nn.ReLU()] * 2, "
         f"BitLinear(8, c, {FOUR})", "", "is there twice"),
        (PAIR, "        self[0].weight.requires_grad = False\n", "weight of layer 0"),
        (PAIR, "        raise SystemExit('bye')\n", "SystemExit: bye"),
        (f"nn.Flatten(), {PAIR}", "", "elsewhere leave it out"),
        (f"{PAIR}, nn.Softmax(1)", "", "is a Softmax; leave it out"),
        (f"BitLinear(i, 8, {FOUR}), nn.ReLU(), nn.Dropout(), BitLinear(8, c, {FOUR})", "",
         "is a Dropout; leave it out"),
        (f"{PAIR}, nn.BatchNorm1d(c)", "", "not behind the last one"),
        (f"BitLinear(i, 8, {FOUR}), nn.ReLU(), nn.BatchNorm1d(8), BitLinear(8, c, {FOUR})", "",
         "directly behind a BitLinear"),
        (f"BitLinear(i, 8, {FOUR}), nn.BatchNorm1d(9), nn.ReLU(), BitLinear(8, c, {FOUR})", "",
         "must take the 8 outputs"),
        (f"BitLinear(i, 8, {FOUR}), nn.ReLU6(), BitLinear(8, c, {FOUR})", "", "is a ReLU6"),
        (PAIR, "        self[0].register_forward_hook(lambda *a: None)\n", "forward hook"),
        (PAIR, "        self.register_forward_pre_hook(lambda *a: None)\n", "forward hook"),
        (PAIR, "        nn.utils.parametrizations.weight_norm(self[0])\n", "parametrizations"),
        (PAIR, "        self.double()\n", "is torch.float64"),
        (PAIR, "        nn.init.constant_(self[0].weight, float('nan'))\n", "is not finite"),
        (f"Sub(i, 8, {FOUR}), nn.ReLU(), BitLinear(8, c, {FOUR})",
         "class Sub(BitLinear):\n    pass\n", "use that class itself"),
        (f"BitLinear(i, 8, 'None'), nn.ReLU(), BitLinear(8, c, {FOUR})", "", "or none"),
        (f"BitLinear(i, 8, {FOUR}), nn.BatchNorm1d(8, eps=0), nn.ReLU(), BitLinear(8, c, {FOUR})",
         "", "an eps above 0"),
    ],
)  # fmt: skip
def test_own_networks_that_would_not_be_exported_as_they_are_are_refused(
    layers, extra, expected, tmp_path
):
    model = write_own(tmp_path, layers, extra)
    done = run_script("training.py", "dataset=Digits", f"model={model}", "--out", tmp_path / "o")
    assert expected in refused(done)


def test_training_sees_shiftnorm_in_front_of_a_bias():
    def linear(bias):
        return BitNetMCU.BitLinear(4, 4, "4bitsym", bias=bias)

    def norms(*biases):
        layers = [linear(biases[0])]
        for bias in biases[1:]:
            layers += [BitNetMCU.ShiftNormReLU(aware=False), linear(bias)]
        network = BitNetMCU.Network(layers, "RMS")
        network.prepare(127)
        again = BitNetMCU.from_architecture(network.architecture())
        found = [[norm.aware for norm in each.layers[1::2]] for each in (network, again)]
        assert found[0] == found[1]
        return found[0]

    assert norms(True, False, False) == [False, False]
    assert norms(False, True, False) == [True, False]
    assert norms(False, False, True) == [True, True]


@pytest.mark.parametrize(
    "layers",
    [
        f"BitLinear(i, c, {FOUR})",
        f"nn.Sequential(BitLinear(i, 8, {FOUR}), nn.ReLU(), nn.Identity()), "
        f"nn.Sequential(BitLinear(8, c, {FOUR}))",
        f"BitLinear(i, 8, {FOUR}, bias=True), nn.ReLU(), BitLinear(8, c, {FOUR}, bias=True)",
        f"BitLinear(i, 12, {FOUR}), nn.BatchNorm1d(12), nn.ReLU(), BitLinear(12, 9, 'Ternary', "
        f"WScale='PerOutput', bias=True), nn.BatchNorm1d(9, affine=False), nn.ReLU(), "
        f"BitLinear(9, c, {FOUR})",
        f"zeros(BitLinear(i, 12, {FOUR}, bias=True)), nn.ReLU(), BitLinear(12, c, {FOUR})",
    ],
    ids=["one layer", "nested", "biases", "batch norm", "zeros"],
)
@pytest.mark.parametrize("optimise", ["size", "speed"])
def test_own_networks_go_through_the_chain(layers, optimise, settings, tmp_path):
    changes = {"model": write_own(tmp_path, layers), "num_epochs": 12}
    path = training.train(replace(settings, **changes), tmp_path, report=str)
    exportquant.export(path, tmp_path, optimise=optimise)
    result = test_inference.compare(tmp_path)
    assert result["differing_values"] == result["differing_predictions"] == 0
    assert result["accuracy_c"] > 30


def batch_normalised(QuantType, seed=0, **options):
    torch.manual_seed(seed)
    norm = nn.BatchNorm1d(6)
    torch.nn.init.uniform_(norm.weight, 0.5, 2)
    torch.nn.init.uniform_(norm.bias, -1, 1)
    return BatchNormBitLinear(BitLinear(10, 6, QuantType, **options), norm), norm


@pytest.mark.parametrize("bias", [False, True])
def test_folded_batch_norm_is_batch_norm(bias):
    """Exactly so in floating point, in training and with running statistics."""
    layer, norm = batch_normalised("None", bias=bias)
    reference = nn.BatchNorm1d(6)
    reference.load_state_dict(norm.state_dict())
    reference.num_batches_tracked += 1  # of the first batch, the layer takes the statistics
    for _ in range(3):
        x = torch.randn(50, 10) * 30 + 5
        weight, offset = BitLinear.float_weights(layer)
        sums = nn.functional.linear(x, weight, offset)
        if norm.num_batches_tracked == 0:
            reference.running_mean.copy_(sums.mean(0).detach())
            reference.running_var.copy_(sums.var(0, correction=0).detach())
        assert torch.allclose(layer(x), reference(sums), atol=1e-5)
    x = torch.randn(50, 10)
    sums = nn.functional.linear(x, *BitLinear.float_weights(layer))
    assert torch.allclose(layer.eval()(x), reference.eval()(sums), atol=1e-5)
    assert torch.allclose(layer.folded()(x), layer(x), atol=1e-5)


@pytest.mark.parametrize("scale", BitNetMCU.WEIGHT_SCALES)
@pytest.mark.parametrize("name", BitNetMCU.FORMATS)
def test_folded_layers_have_the_integers_of_training(name, scale):
    layer, _ = batch_normalised(name, bias=True, WScale=scale)
    for _ in range(20):
        layer(torch.randint(0, 128, (64, 10)).float())
    layer.update_clipping()
    folded = layer.eval().folded()
    assert torch.equal(folded.integer_weights(), layer.integer_weights())
    assert torch.equal(folded.integer_bias(), layer.integer_bias())
    x = torch.randint(0, 128, (64, 10)).float()
    assert torch.equal(folded(x), layer(x))


def test_measuring_leaves_running_statistics_alone(settings, tmp_path):
    layer, norm = batch_normalised("4bitsym")
    layer(torch.randint(0, 128, (64, 10)).float())
    before = norm.running_mean.clone()
    with torch.no_grad():
        layer.train()(torch.randint(0, 128, (64, 10)).float() + 50)
    assert torch.equal(norm.running_mean, before)


# --- several networks, other languages


def two_headers(settings, tmp_path, names):
    """Two different networks exported under `names`; returns their folders."""
    for seed, name in enumerate(names):
        path = training.train(replace(settings, seed=seed, num_epochs=1), tmp_path, report=str)
        exportquant.export(path, tmp_path / f"{seed}", name=name)
    return [tmp_path / f"{seed}" for seed in range(len(names))]


PROGRAM = """#include <stdio.h>
#include "cats_model.h" /* declarations, as another header may have brought them */
#define CATS_MODEL_IMPLEMENTATION
#define DOGS_MODEL_IMPLEMENTATION
#include "cats_model.h"
#include "dogs_model.h"
#include "cats_model.h" /* again: nothing happens */

int main(void) {
    static const char *const names[] = {DOGS_CLASS_NAMES};
    static int8_t input[CATS_INPUTS];
    int32_t cats[CATS_CLASSES], dogs[DOGS_CLASSES];
    unsigned i;

    for (i = 0; i < CATS_INPUTS; i++)
        input[i] = (int8_t)(i % 128);
    cats_infer(input, cats);
    dogs_infer(input, dogs);
    for (i = 0; i < CATS_CLASSES; i++)
        printf("%ld %ld\\n", (long)cats[i], (long)dogs[i]);
    return names[0][0] != '0' || CATS_MARGIN < 0;
}
"""


@pytest.mark.parametrize(
    ("name", "language"), [("gcc", "c"), ("clang", "c"), ("g++", "c++"), ("clang++", "c++")]
)
def test_two_networks_in_one_program_and_cpp_callers(name, language, settings, tmp_path):
    """The kernels are C; what calls them is C or C++."""
    folders = two_headers(settings, tmp_path, ("cats", "dogs"))
    standard = ["-std=c99" if language == "c" else "-std=c++11"]
    includes = itertools.chain.from_iterable(("-I", str(folder)) for folder in folders)
    flags = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-I", str(ROOT), *includes]
    source = tmp_path / ("app.c" if language == "c" else "app.cpp")
    source.write_text(PROGRAM)
    c_compiler = compiler(name.replace("++", "cc").replace("clangcc", "clang"))
    objects = []
    for kernel in kernelrows.sources():
        objects.append(tmp_path / f"{kernel.stem}.o")
        subprocess.run([*c_compiler, *STRICT, "-c", "-o", objects[-1], kernel], check=True)
    program = tmp_path / "app"
    command = [*compiler(name), *standard, *flags, "-o", program, source, *objects]
    subprocess.run(command, check=True)
    done = subprocess.run([program], capture_output=True, text=True, check=True)
    found = np.array([line.split() for line in done.stdout.splitlines()], np.int64)
    x = (np.arange(256) % 128).astype(np.int8)[None]
    for column, folder in zip(found.T, folders):
        path = exportquant.read_report(folder)["checkpoint"]
        graph = lowering.lower(checkpoint.load(path).network)
        assert column.tolist() == run(graph, x)[0].tolist()
    assert test_inference.compare(folders[0])["differing_values"] == 0


def test_two_networks_of_one_name_are_a_compile_error(settings, tmp_path):
    folders = two_headers(settings, tmp_path, ("same", "same"))
    source = tmp_path / "two.c"
    for header in ("same_model.h", "BitNetMCU_model.h"):
        includes = "".join(f'#include "{folder}/{header}"\n' for folder in folders)
        source.write_text(f"{includes}int main(void) {{ return 0; }}\n")
        command = [*compiler("gcc"), *STRICT, "-fsyntax-only", source]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode and "export one of them with --name" in done.stderr


@pytest.mark.parametrize("name", ["3cats", "a-b", "", "bitnetmcu", "BITNETMCU", "ä"])
def test_names_that_c_does_not_take_are_refused(name, settings, tmp_path):
    path = training.train(replace(settings, num_epochs=1), tmp_path, report=str)
    with pytest.raises(UserError, match="is not valid; it takes a C name"):
        exportquant.export(path, tmp_path / "b", name=name)
    assert not (tmp_path / "b").exists()


def test_300_classes_go_through_the_chain(settings, tmp_path):
    y = np.arange(900) % 300
    x = np.stack([y % 20, y // 20], axis=1) + np.random.default_rng(0).normal(0, 0.1, (900, 2))
    np.savez(tmp_path / "x.npz", x_train=x, y_train=y, x_test=x[290:300], y_test=y[290:300])
    changes = {"dataset": str(tmp_path / "x.npz"), **MEASURED}
    path = training.train(replace(settings, **changes), tmp_path, report=str)
    exportquant.export(path, tmp_path)
    text = (tmp_path / exportquant.TEST_DATA_HEADER).read_text()
    assert "uint16_t BitNetMCU_test_labels" in text
    done = subprocess.run(
        ["make", "-s", "ctest", f"BUILD={tmp_path}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0 and "label 299" in done.stdout
    assert test_inference.compare(tmp_path)["differing_values"] == 0
