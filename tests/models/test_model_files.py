from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import equitools as et
from equitools.errors import CheckpointError, ConfigError, ShapeError
from equitools.graph import Graph
from equitools.models import HeadModel, Potential, files, from_spec, head_from_spec, read_metadata

FIXTURES = Path(__file__).parents[1] / "fixtures"
VERSIONS = sorted(FIXTURES.glob("format_v*.json"))


@pytest.fixture
def saved(tmp_path, make_potential):
    path = tmp_path / "model.safetensors"
    et.save(make_potential(), path, {"epochs": 3, "test": {"energy_mae": 0.01}})
    return path


def rewritten(path: Path, tensors=None, **changes: object) -> Path:
    """Change the description (a value of ... leaves the key out) or the tensors of a file."""
    content = read_metadata(path)
    content.update(changes)
    content = {key: value for key, value in content.items() if value is not ...}
    save_file(load_file(path) if tensors is None else tensors, path, {"equitools": json.dumps(content)})
    return path


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "kind", ["potential", "zbl", "backbone", "velocities", "scalar", "dipole", "node_vector", "class"]
)
def test_round_trip(tmp_path, make_egnn, make_potential, make_graph, kind, dtype):
    """Outputs of the loaded model equal the saved model's bit for bit."""
    graph = make_graph("water", dtype=dtype)
    if kind in {"potential", "zbl"}:
        model = make_potential(dtype=dtype, zbl=kind == "zbl", attention=True)
    elif kind in {"backbone", "velocities"}:
        model = make_egnn(dtype=dtype, velocities=kind == "velocities")
        graph = graph.replace(velocities=torch.ones_like(graph.positions))
    else:
        head = {"kind": kind, "name": "target", **({"num_classes": 3} if kind == "class" else {})}
        model = HeadModel(make_egnn(dtype=dtype), head_from_spec(head))
    model = model.to(dtype).eval()
    path = tmp_path / "sub" / "model.safetensors"
    et.save(model, path, {"epochs": 5})
    loaded = et.load(path)
    assert type(loaded) is type(model)
    assert not loaded.training
    assert loaded.training_summary == {"epochs": 5}
    assert loaded.spec() == model.spec()
    expected, outputs = model(graph), loaded(graph)
    assert expected.keys() == outputs.keys()
    for key, value in expected.items():
        assert torch.equal(outputs[key], value), key
    assert [p.name for p in path.parent.iterdir()] == ["model.safetensors"], "a temporary file was left behind"


def test_saving_again_keeps_the_summary(saved, tmp_path):
    model = et.load(saved)
    again = tmp_path / "again.safetensors"
    et.save(model, again)
    assert again.read_bytes() == saved.read_bytes()


def test_description(saved, make_potential):
    content = read_metadata(saved)
    assert content["format_version"] == files.FORMAT_VERSION == 1
    assert content["species"] == [1, 6, 8]
    assert content["cutoff"] == 4.0
    assert content["dtype"] == "float64"
    assert content["units"]["forces"] == "eV/Å"
    assert content["convention"] == et.groups.Convention.preset("e3nn-0.5").to_dict()
    assert content["spec"]["kind"] == "potential"
    assert content["spec"]["reference_energies"]["8"] == -2043.0
    assert content["summary"] == {"epochs": 3, "test": {"energy_mae": 0.01}}
    assert json.loads(json.dumps(make_potential().config)) == content["spec"]


def test_dtype_and_device(saved, make_graph):
    wide, narrow, named = et.load(saved), et.load(saved, dtype=torch.float32), et.load(saved, "cpu", "float32")
    assert {p.dtype for p in wide.parameters()} == {torch.float64}
    assert {p.dtype for p in narrow.parameters()} == {p.dtype for p in named.parameters()} == {torch.float32}
    graph = make_graph()
    energy = narrow(graph.to(dtype=torch.float32))["energy"]
    assert abs(float(energy - wide(graph)["energy"])) < 1e-4
    assert next(et.load(saved, device="meta").parameters()).device.type == "meta"
    for wrong in ("float63", torch.int64):
        with pytest.raises(ShapeError, match="float32"):
            et.load(saved, dtype=wrong)
    with pytest.raises(ShapeError, match="MPS"):
        et.load(saved, device="mps")


def test_same_state_dict_for_every_backend(make_egnn):
    with et.ops.use_backend("reference"):
        reference = make_egnn().state_dict()
    torch.testing.assert_close(dict(make_egnn().state_dict()), dict(reference), rtol=0, atol=0)
    assert all(value.is_floating_point() for value in reference.values()), "tables do not belong in the state_dict"


def test_loading_unpickles_nothing(saved, monkeypatch, make_graph):
    def refuse(*args, **kwargs):
        raise AssertionError("something was unpickled")

    for module, name in ((torch, "load"), (pickle, "load"), (pickle, "loads"), (pickle, "Unpickler")):
        monkeypatch.setattr(module, name, refuse)
    et.load(saved)(make_graph())


def test_truncated_at_every_length(saved, tmp_path):
    data, path = saved.read_bytes(), tmp_path / "short.safetensors"
    lengths = [*range(40), *range(40, len(data), max(1, len(data) // 150)), len(data) - 1]
    for length in lengths:
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match=r"short\.safetensors"):
            et.load(path)


def test_random_bytes(tmp_path):
    path = tmp_path / "noise.safetensors"
    generator = torch.Generator().manual_seed(0)
    for length in (0, 1, 7, 8, 9, 100, 5000):
        noise = bytes(torch.randint(256, (length,), generator=generator, dtype=torch.uint8).tolist())
        for data in (noise, struct.pack("<Q", length) + noise):
            path.write_bytes(data)
            with pytest.raises(CheckpointError):
                et.load(path)


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "nothing.safetensors", tmp_path):
        with pytest.raises(CheckpointError, match="no model file"):
            et.load(path)


def test_foreign_files(tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.ones(2)}, path)
    with pytest.raises(CheckpointError, match="another program"):
        et.load(path)
    torch.save({"weight": torch.ones(2)}, path)
    with pytest.raises(CheckpointError, match="damaged"):
        et.load(path)
    save_file({"weight": torch.ones(2)}, path, {"equitools": "{not json"})
    with pytest.raises(CheckpointError, match="damaged"):
        et.load(path)


@pytest.mark.parametrize("version", [0, -1, "1", True, None, 1.5, ...])
def test_nonsense_version(saved, version):
    with pytest.raises(CheckpointError, match="damaged"):
        et.load(rewritten(saved, format_version=version))


def test_newer_format(saved):
    with pytest.raises(CheckpointError, match=r"version 2, written by equitools 9\.9.*Install a newer"):
        et.load(rewritten(saved, format_version=2, equitools_version="9.9"))


def test_another_convention(saved):
    convention = et.groups.Convention.preset("wikipedia").to_dict()
    with pytest.raises(CheckpointError, match="another convention"):
        et.load(rewritten(saved, convention=convention))
    with pytest.raises(CheckpointError, match="another convention"):
        et.load(rewritten(saved, convention=...))


def test_tensors_that_do_not_fit(saved):
    tensors = load_file(saved)
    first, second, *_ = sorted(tensors)
    changed = {name: value for name, value in tensors.items() if name != first}
    changed["surplus"] = torch.ones(1)
    changed[second] = torch.ones(1, 7)
    with pytest.raises(CheckpointError) as caught:
        et.load(rewritten(saved, changed))
    for part in (f"missing: {first}", "not known: surplus", f"{second} has shape [1, 7]"):
        assert part in str(caught.value)


def test_specs_that_cannot_be_built(saved):
    spec = read_metadata(saved)["spec"]
    backbone = spec["backbone"]
    for changed, message in (
        ({**spec, "backbone": {**backbone, "name": "from_a_plugin"}}, "install that package"),
        ({**spec, "backbone": {**backbone, "config": {**backbone["config"], "hiden": 1}}}, "hidden"),
        ({**spec, "backbone": {"name": "egnn"}}, "config"),
        ({**spec, "kind": "oracle"}, "oracle"),
        ({**spec, "colour": 3}, "colour"),
        ([], "spec"),
        (None, "spec"),
        (..., "spec"),
    ):
        with pytest.raises(CheckpointError, match=message):
            et.load(rewritten(saved, spec=changed))


def test_upgrades_run_in_turn(saved, monkeypatch, make_potential, make_graph):
    """A file of an older format passes through each upgrade function between its version and ours."""

    def rename(content, tensors):
        return content, {name.replace("old.", ""): value for name, value in tensors.items()}

    def add_shift(content, tensors):
        return {**content, "spec": {**content["spec"], "shift": content.pop("old_shift")}}, tensors

    spec = read_metadata(saved)["spec"]
    shift = spec.pop("shift")
    rewritten(saved, {f"old.{name}": value for name, value in load_file(saved).items()}, spec=spec, old_shift=shift)
    monkeypatch.setattr(files, "FORMAT_VERSION", 3)
    monkeypatch.setattr(files, "UPGRADES", {1: rename, 2: add_shift})
    assert torch.equal(et.load(saved)(make_graph())["energy"], make_potential()(make_graph())["energy"])


def test_upgrade_table_is_complete():
    assert sorted(files.UPGRADES) == list(range(1, files.FORMAT_VERSION))
    assert {path.stem.split("_")[1] for path in VERSIONS} >= {f"v{n}" for n in range(1, files.FORMAT_VERSION + 1)}


@pytest.mark.parametrize("description", VERSIONS, ids=lambda path: path.stem)
def test_stored_file_of_each_version(description):
    """Files written by earlier releases load and give the energies and forces that they gave then."""
    expected = json.loads(description.read_text(encoding="utf-8"))
    model = et.load(description.with_suffix(".safetensors"))
    assert isinstance(model, Potential)
    for case in expected["cases"]:
        graph = Graph.from_arrays(
            case["positions"],
            case["numbers"],
            cell=case["cell"],
            pbc=case["pbc"],
            cutoff=model.cutoff,
            dtype=torch.float64,
        )
        outputs = model(graph, virial=True)
        for key in ("energy", "forces", "virial"):
            torch.testing.assert_close(outputs[key], torch.tensor(case[key], dtype=torch.float64), atol=1e-8, rtol=1e-9)
    assert model.training_summary == expected["summary"]


@pytest.mark.parametrize("summary", [{"x": float("nan")}, {"x": torch.ones(1)}, {"x": object()}])
def test_summary_must_be_json(tmp_path, make_potential, summary):
    path = tmp_path / "model.safetensors"
    with pytest.raises(ConfigError, match="JSON"):
        et.save(make_potential(), path, summary)
    assert not list(tmp_path.iterdir())


def test_failed_save_keeps_the_old_file(saved, monkeypatch, make_potential):
    before = saved.read_bytes()

    def fail(tensors, path, metadata):
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(files, "save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        et.save(make_potential(seed=1), saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_only_our_models_are_saved(tmp_path):
    with pytest.raises(ConfigError, match="Linear"):
        et.save(torch.nn.Linear(2, 2), tmp_path / "x.safetensors")


def test_from_spec_gives_fresh_weights(make_potential):
    model = make_potential()
    built = from_spec(json.loads(json.dumps(model.spec())))
    assert isinstance(built, Potential)
    assert built.spec() == model.spec()
    assert built.reference_energies == model.reference_energies
    assert {k: v.shape for k, v in built.state_dict().items()} == {k: v.shape for k, v in model.state_dict().items()}
    assert not torch.equal(built.readout.linear.weight.double(), model.readout.linear.weight)
