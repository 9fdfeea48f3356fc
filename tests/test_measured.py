"""Measured values: CSV and .npz files through the chain, names, margins, predict.py."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import MEASURED, ROOT, STRICT, compiler, refused, run_script

import cli
import exportquant
import predict
import test_inference
import training
from cli import UserError
from compiler.emission import c_string
from compiler.operators import run
from lowbit import lowering
from train import checkpoint, confidence, loaders, measured

sys.path.insert(0, str(ROOT / "examples"))
import sensors  # noqa: E402


def test_the_map_knows_only_the_training_split(tmp_path, settings):
    """Neither validation nor test samples move it."""
    x, y = np.random.default_rng(0).normal(0, 1, (100, 2)), np.arange(100) % 2
    files = []
    for index, far in enumerate((1.0, 50.0)):
        # What Dataset.hold_out chooses with seed 0.
        order = torch.randperm(100, generator=torch.Generator().manual_seed(0))[:30].numpy()
        changed = x.copy()
        changed[order] *= far
        files.append(tmp_path / f"{index}.npz")
        np.savez(files[-1], x_train=changed, y_train=y, x_test=x * far, y_test=y)
    maps = []
    for file in files:
        changes = {"dataset": str(file), **MEASURED, "validation_samples": 30}
        path = training.train(replace(settings, **changes, num_epochs=1), tmp_path, report=str)
        maps.append(checkpoint.load(path).input_map)
    assert maps[0] == maps[1]


# --- files


def write_csv(path, rows, head="temp,lux,label"):
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def test_csv_goes_through_the_chain_with_its_names(tmp_path, settings):
    rng = np.random.default_rng(0)
    kinds = ("cold", 'ho"t\\??/ é', "hot")
    rows = [
        f"{rng.normal(20 * (i % 3), 2):.2f},{rng.integers(1000)},{kinds[i % 3]}" for i in range(300)
    ]
    file = tmp_path / "x.csv"
    text = "\n".join(["temp,lux /* */,label", *rows]).replace('ho"t', '"ho""t')
    file.write_text(text.replace("é", 'é"'), encoding="utf-8")
    changes = {"dataset": str(file), **MEASURED, "widths": [16, 16], "num_epochs": 20}
    path = training.train(
        replace(settings, **changes, bias="first", batch_size=16), tmp_path, report=str
    )
    report = exportquant.export(path, tmp_path)
    result = test_inference.compare(tmp_path)
    assert result["differing_values"] == result["differing_inputs"] == 0
    assert result["images"] == 60 and result["accuracy_c"] > 95
    trained = checkpoint.load(path)
    assert trained.class_names == kinds and trained.channel_names == ("temp", "lux /* */")
    assert report["class_names"] == list(kinds)
    assert report["raw_units_per_value"] == {"temp": 10_000.0, "lux /* */": 1.0}
    compiled = subprocess.run(
        ["make", "-s", "ctest", f"BUILD={tmp_path}"], cwd=ROOT, capture_output=True, text=True
    )
    assert compiled.returncode == 0, compiled.stderr


def test_csv_takes_every_fifth_row_of_a_class_or_the_split_column(tmp_path):
    rows = [f"{i},{'ab'[i % 2]}" for i in range(20)]
    dataset = measured.load_csv(write_csv(tmp_path / "x.csv", rows, "v,kind"))
    assert dataset.class_names == ("a", "b") and dataset.channel_names == ("v",)
    assert dataset.test_images.ravel().tolist() == [8, 9, 18, 19]
    rows = [f"{i},{('Train', 'validation', 'test')[i % 3]},{i % 2}" for i in range(20)]
    dataset = measured.load_csv(write_csv(tmp_path / "x.csv", rows, "v,Split,kind"))
    assert dataset.test_images.ravel().tolist() == list(range(2, 20, 3))
    part, (held, labels) = dataset.hold_out(0, seed=0)
    assert part is dataset and held.ravel().tolist() == list(range(1, 20, 3))
    with pytest.raises(UserError, match="names 7 validation samples itself"):
        dataset.hold_out(3, seed=0)


@pytest.mark.parametrize("head", ["\n\n", "sep=;\n"])
def test_csv_takes_quoted_delimiters_blank_lines_and_excels_first_line(head, tmp_path):
    text = (
        head + '"temp, C";"hum, %";label\n' + "".join(f"{i};2;{'ab'[i % 2]}\n" for i in range(20))
    )
    (tmp_path / "x.csv").write_text(text + " ; ; \n")
    dataset = measured.load_csv(tmp_path / "x.csv")
    assert dataset.channel_names == ("temp, C", "hum, %") and dataset.classes == 2


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_csv_takes_other_delimiters_marks_and_classes_in_the_order_people_count(
    delimiter, tmp_path
):
    text = "label,v\n" + "".join(f"{(10, 2, 1)[i % 3]},{i}\n" for i in range(30))
    (tmp_path / "x.csv").write_text("\ufeff" + text.replace(",", delimiter), encoding="utf-8")
    assert measured.load_csv(tmp_path / "x.csv").class_names == ("1", "2", "10")


@pytest.mark.parametrize(
    ("rows", "head", "expected"),
    [
        ([], "a,label", "has no rows"),
        (["1,x", "2"], "a,label", "row 3: 1 cells for 2 columns"),
        (["1,x", "two,y"] * 5, "a,label", "row 3, column 'a': 'two' is not a number"),
        (["1,x", "nan,y"] * 5, "a,label", "'nan' is not a number"),
        (["1,x", ",y"] * 5, "a,label", "'' is not a number"),
        (["1,x", "2,"] * 5, "a,label", "row 3: the label (column 'label') is empty"),
        (["1,2"] * 10, "3,4", "it must name each column once"),
        (["5.1,3.5,setosa"] * 10, "4.9,3.0,setosa", "and not be data"),
        (["1,x,2", "2,y,3"] * 5, "a,class,b", "name it 'label'"),
        (["1,x,train", "2,y,"] * 5, "a,label,split", "row 3: split '' is not known"),
        (["", "1,x", "", "two,y"], "a,label", "row 5, column 'a'"),
        (["1,2,x"] * 10, "a,a,label", "it must name each column once"),
        (["1", "2"] * 5, "label", "no column of numbers"),
        (["1,x"] * 10, "a,label", "1 different labels in 10 rows"),
        ([f"1,{i}.5" for i in range(10)], "a,b", "10 different labels in 10 rows"),
        (["1,x", "2,y"] * 4, "a,label", "has no test rows"),
        (["1,x,train", "2,y,tset"] * 5, "a,label,split", "row 3: split 'tset' is not known"),
        (["1,x,train", "2,y,test"] * 5, "a,label,split", "class 'y' has no row to train on"),
        (["1,x,train", "2,y,train"] * 5, "a,label,split", "has no test rows"),
    ],
)
def test_csv_files_with_faults_are_refused(rows, head, expected, tmp_path):
    file = write_csv(tmp_path / "x.csv", rows, head)
    done = run_script("training.py", f"dataset={file}", "augmented_copies=0", "--out", tmp_path)
    assert expected in refused(done)


def test_csv_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"a,label\n\xff\xfe,1\n")
    with pytest.raises(UserError, match="not a CSV file in UTF-8"):
        measured.load_csv(tmp_path / "x.csv")


def test_class_names_of_npz_files_are_optional_and_checked(tmp_path):
    arrays = {"x_train": np.eye(4), "y_train": np.arange(4) % 2} | {
        "x_test": np.eye(4),
        "y_test": np.arange(4) % 2,
    }
    for given, expected in ((None, ("0", "1")), (np.array(["no", "yes"]), ("no", "yes"))):
        extra = {} if given is None else {"class_names": given}
        np.savez(tmp_path / "x.npz", **arrays, **extra)
        assert measured.load_npz(tmp_path / "x.npz").class_names == expected
    for wrong in (np.array(["one"]), np.arange(2), np.array([["a", "b"]])):
        np.savez(tmp_path / "x.npz", **arrays, class_names=wrong)
        with pytest.raises(UserError, match="one text for each of the 2 classes"):
            measured.load_npz(tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz", **arrays, class_names=np.array(["a", "a"]))
    with pytest.raises(UserError, match="each class needs its own"):
        measured.load_npz(tmp_path / "x.npz")


def test_raw_units_for_images_are_refused(tmp_path):
    done = run_script("training.py", "dataset=Digits", "raw_units_per_value=3", "--out", tmp_path)
    assert "is for measured values" in refused(done)


def test_text_becomes_a_c_string_that_means_the_same(tmp_path):
    texts = ['a"b\\c', "??/n??=", "é€😀", "tab\tend", "%d\n", ""]
    literals = ", ".join(map(c_string, texts))
    (tmp_path / "s.c").write_text(
        "#include <stdio.h>\nint main(void) {\n"
        f"    static const char *const s[] = {{{literals}}};\n    unsigned i;\n"
        f'    for (i = 0; i < {len(texts)}; i++)\n        printf("%s|", s[i]);\n'
        "    return 0;\n}\n"
    )
    subprocess.run([*compiler("gcc"), *STRICT, "-o", tmp_path / "s", tmp_path / "s.c"], check=True)
    done = subprocess.run([tmp_path / "s"], capture_output=True, check=True)
    assert done.stdout.decode() == "".join(f"{text}|" for text in texts)


# --- what it is for


@pytest.mark.parametrize(
    ("kind", "least"),
    [("temperature", 99.5), ("amplitude", 99.5), ("mixed", 99.5), ("constant", 98),
     ("outlier", 98), ("onefeature", 87)],
)  # fmt: skip
def test_sensors_are_learned(kind, least, tmp_path, settings):
    arrays = sensors.simulate(kind, seed=1)
    np.savez(tmp_path / "x.npz", **arrays)
    changes = {"dataset": str(tmp_path / "x.npz"), **MEASURED, "bias": "first"}
    changes |= {"widths": [32, 32], "num_epochs": 60}
    path = training.train(replace(settings, **changes), tmp_path, report=str)
    assert checkpoint.load(path).metrics["test_accuracy"] >= least


def test_without_a_bias_the_training_warns(tmp_path, settings, capsys):
    np.savez(tmp_path / "x.npz", **sensors.simulate("constant", 0))
    changes = {"dataset": str(tmp_path / "x.npz"), **MEASURED, "num_epochs": 1}
    cli.warn.cache_clear()
    training.train(replace(settings, **changes), tmp_path, report=str)
    assert "warning: the first layer has no bias" in capsys.readouterr().err
    cli.warn.cache_clear()
    training.train(replace(settings, **changes, bias="first"), tmp_path, report=str)
    useless, few = capsys.readouterr().err.splitlines()
    assert useless.startswith("warning: useless") and "feature 9 (1e+06)" in useless
    assert "only 5 steps" in few


def test_maps_of_older_versions_still_hold(tmp_path, settings):
    """A file whose one affine constant maps all values to int8."""
    np.savez(tmp_path / "x.npz", **sensors.simulate("mixed", 0))
    changes = {"dataset": str(tmp_path / "x.npz"), **MEASURED, "num_epochs": 1}
    path = training.train(replace(settings, **changes), tmp_path, report=str)
    content = torch.load(path, weights_only=True)
    for key in ("input_map", "class_names", "channel_names", "confidence"):
        del content[key]
    for key in ("bias", "raw_units_per_value"):
        del content["config"][key]
    content["affine"] = {"offset": -3.0, "scale": 0.25}
    torch.save(content, path)
    trained = checkpoint.load(path)
    samples = torch.tensor([[-3.0, -1.0, 1e9]], dtype=torch.float64)
    assert trained.input_map(samples).tolist() == [[0, 1, 127]]
    exportquant.export(path, tmp_path)
    header = (tmp_path / exportquant.MODEL_HEADER).read_text()
    assert "#define BITNETMCU_INPUT_SCALE 0.25" in header and "BITNETMCU_MARGIN" in header
    result = test_inference.compare(tmp_path)
    assert result["differing_values"] == 0 and "differing_inputs" not in result


# --- confidence, predict.py


def test_threshold_keeps_99_percent_of_the_right_answers():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 1000)
    logits = rng.integers(0, 1000, (1000, 3))
    logits[np.arange(900), labels[:900]] += 1000
    sure = confidence.measure(logits, labels, "validation")
    margins, right = confidence.margins(logits), logits.argmax(1) == labels
    kept = (margins[right] >= sure["threshold"]).mean()
    assert kept >= 0.99 > (margins[right] > sure["threshold"]).mean()
    assert sure["right"]["samples"] + sure["wrong"]["samples"] == 1000
    assert sure["wrong"]["below_threshold"] == (margins[~right] < sure["threshold"]).sum()
    text = "\n".join(confidence.lines(sure))
    assert str(sure["threshold"]) in text and "validation" in text


def test_measuring_with_no_right_or_no_wrong_answer_is_possible():
    logits = np.array([[5, 1], [1, 5]])
    assert confidence.measure(logits, np.array([1, 0]), "training")["threshold"] == 0
    assert confidence.measure(logits, np.array([0, 1]), "training")["wrong"]["percentiles"] == []


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A folder with a network trained on a CSV of temperatures: (its checkpoint, the CSV)."""
    folder = tmp_path_factory.mktemp("room")
    file = folder / "room.csv"
    file.write_text(sensors.csv_text(sensors.simulate("temperature", 0)))
    done = run_script(
        "training.py", f"dataset={file}", "augmented_copies=0", "widths=16,16", "num_epochs=20",
        "--out", folder, "--build", folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.pth")), file


def test_predict_classifies_rows_by_name_as_the_integer_model_does(room, tmp_path):
    path, file = room
    found = json.loads(run_script("predict.py", path, file, "--json").stdout)
    table = measured.read_table(file)
    assert np.mean([f["class_name"] == t for f, t in zip(found, table["label"])]) > 0.99
    trained = checkpoint.load(path)
    columns = tuple(table)[:3]
    samples = torch.from_numpy(measured.numbers(file, table, columns))
    logits = run(lowering.lower(trained.network), trained.input_map(samples).numpy())
    assert [f["margin"] for f in found] == confidence.margins(logits).tolist()
    shuffled = tmp_path / "s.csv"
    shuffled.write_text("water,extra,inside,outside\n34,0,34,34\n8,0,8,8\n")
    lines = run_script("predict.py", path, shuffled).stdout.splitlines()
    assert "[0]: hot" in lines[0] and "[1]: cold" in lines[1]
    shuffled.write_text("row,outside,inside\n1,34,34\n")  # as many columns, but others
    assert "has no column 'water'" in refused(run_script("predict.py", path, shuffled))


def test_predict_takes_arrays_and_images_and_refuses_what_does_not_fit(room, tmp_path, settings):
    path, file = room
    np.savez(tmp_path / "x.npz", x=np.array([[8.0, 8, 8], [34, 34, 34]]))
    names = [each["class_name"] for each in predict_json(path, tmp_path / "x.npz")]
    assert names == ["cold", "hot"]
    np.savez(tmp_path / "bad.npz", x=np.zeros((2, 4)))
    np.savez(tmp_path / "none.npz", z=np.zeros((2, 4)))
    np.savez(tmp_path / "empty.npz", x=np.zeros((0, 3)))
    for name, expected in (
        ("bad.npz", "takes samples of 3 values"),
        ("none.npz", "no array x"),
        ("empty.npz", "x is empty"),
    ):
        assert expected in refused(run_script("predict.py", path, tmp_path / name))
    digits = training.train(replace(settings, num_epochs=15), tmp_path, report=str)
    dataset = loaders.DATASETS["Digits"]()
    from PIL import Image

    Image.fromarray(dataset.test_images[0].numpy()).save(tmp_path / "digit.png")
    (found,) = predict_json(digits, tmp_path / "digit.png")
    trained = checkpoint.load(digits)
    graph = lowering.lower(trained.network)
    inputs = trained.pixels(dataset.test_images[:1]).numpy()
    assert found["class"] == run(graph, inputs).argmax()
    assert "takes images" in refused(run_script("predict.py", digits, file))
    assert "takes rows" in refused(run_script("predict.py", path, tmp_path / "digit.png"))


def test_predict_takes_rows_of_a_csv_as_samples_of_several_channels(tmp_path, settings):
    """Trained on [N, T, C] without names: columns by their place, channels in turn."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    x = rng.normal(0, 1, (60, 5, 3)) + 3 * y[:, None, None]
    np.savez(tmp_path / "x.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    changes = {"dataset": str(tmp_path / "x.npz"), **MEASURED, "bias": "first"}
    path = training.train(replace(settings, **changes), tmp_path, report=str)
    rows = "\n".join(",".join(map(str, row)) for row in x[:4].reshape(4, -1))
    (tmp_path / "x.csv").write_text(",".join(f"c{i}" for i in range(15)) + "\n" + rows + "\n")
    np.savez(tmp_path / "four.npz", x=x[:4])
    by_row, by_array = (predict_json(path, tmp_path / name) for name in ("x.csv", "four.npz"))
    assert [each["margin"] for each in by_row] == [each["margin"] for each in by_array]


def predict_json(*arguments):
    done = run_script("predict.py", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_predict_knows_older_files_without_a_threshold(tmp_path, settings):
    path = training.train(replace(settings, num_epochs=1), tmp_path, report=str)
    content = torch.load(path, weights_only=True)
    del content["confidence"]
    torch.save(content, path)
    trained = checkpoint.load(path)
    graph = lowering.lower(trained.network)
    (found,) = predict.classify(trained, graph, [("x", np.zeros((1, 256), np.int8))])
    assert found["sure"] is None and found["margin"] == 0
