from __future__ import annotations

import sys
import types
import warnings
from importlib import metadata

import pytest
import torch

import equitools as et
from equitools.errors import ConfigError, EquitoolsError, ShapeError, UnknownNameError
from equitools.groups import Irreps
from equitools.models import Backbone, ModelConfig, PluginWarning, Potential, registry
from equitools.models.elements import COVALENT_RADII, SYMBOLS, atomic_number


class Mine(Backbone):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.irreps_out = Irreps("3x0e")

    def forward(self, graph):
        return {"node_features": graph.positions.new_ones(graph.num_nodes, 3)}


class Other(Mine):
    pass


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    monkeypatch.setattr(registry, "_tried", set())
    monkeypatch.setattr(Mine, "name", "")


@pytest.fixture
def plugins(monkeypatch):
    """Return a function that installs entry points; the module it gives is importable as eqt_plugin."""
    module = types.ModuleType("eqt_plugin")
    monkeypatch.setitem(sys.modules, "eqt_plugin", module)

    def install(*points: tuple[str, str]) -> types.ModuleType:
        found = [metadata.EntryPoint(name, value, registry.ENTRY_POINT_GROUP) for name, value in points]
        monkeypatch.setattr(metadata, "entry_points", lambda group: found if group == "equitools.models" else [])
        return module

    return install


def test_names_and_build():
    assert {"egnn", "many_body_mp"} <= set(et.models.names())
    model = et.models.build("egnn", cutoff=3.0, species=["O", 1, "1"], hidden=4)
    assert (model.name, model.cutoff, model.species, model.symmetry) == ("egnn", 3.0, (1, 8), "E(3)")


def test_unknown_name():
    with pytest.raises(UnknownNameError, match="Did you mean 'egnn'"):
        et.models.build("egn", cutoff=3.0, species=[1])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"cutof": 3.0, "species": [1]}, r"unknown key 'cutof'. Did you mean 'cutoff'"),
        ({"species": [1]}, "'cutoff' is missing"),
        ({"cutoff": "far", "species": [1]}, "cutoff = 'far'"),
        ({"cutoff": -1.0, "species": [1]}, "greater than 0"),
        ({"cutoff": float("nan"), "species": [1]}, "finite"),
        ({"cutoff": 3.0, "species": []}, "species"),
        ({"cutoff": 3.0, "species": "HCO"}, "list of atomic numbers"),
        ({"cutoff": 3.0, "species": [0]}, "not an element"),
        ({"cutoff": 3.0, "species": ["Xx"]}, "not an element"),
        ({"cutoff": 3.0, "species": [1.5]}, "not an element"),
        ({"cutoff": 3.0, "species": 1}, "species"),
        ({"cutoff": 3.0, "species": [1], "hidden": "many"}, "hidden"),
    ],
)
def test_bad_config(config, message):
    with pytest.raises(ConfigError, match=message):
        et.models.build("egnn", **config)


def test_config_is_immutable():
    config = et.models.EGNNConfig(cutoff=3.0, species=[8, 1, 8])
    assert config.species == (1, 8)
    with pytest.raises(ValueError, match="frozen"):
        config.cutoff = 4.0


def test_register_and_use():
    assert et.models.register("mine")(Mine) is Mine
    assert et.models.register("mine")(Mine) is Mine  # again, as a reloaded module does
    model = et.models.build("mine", cutoff=3.0, species=[1])
    assert isinstance(model, Mine)
    assert "mine" in et.models.names()
    graph = et.graph.Graph.from_arrays([[0, 0, 0], [0, 0, 1]], [1, 1], cutoff=3.0)
    outputs = Potential(model)(graph)
    assert torch.equal(outputs["forces"], torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("name", "cls", "message"),
    [
        ("mine", Other, "taken"),
        ("egnn", Other, "itself|taken"),
        ("my name", Other, "identifier"),
        ("x", dict, "subclass"),
    ],
)
def test_register_refuses(name, cls, message):
    et.models.register("mine")(Mine)
    with pytest.raises(ConfigError, match=message):
        et.models.register(name)(cls)


def test_plugin_class_and_module(plugins, monkeypatch):
    module = plugins(("from_class", "eqt_plugin:Net"), ("from_module", "eqt_registering"))
    module.Net = type("Net", (Mine,), {"__module__": "eqt_plugin"})
    other = type("Net2", (Mine,), {"__module__": "eqt_registering"})

    class Importer:
        def find_spec(self, name, path=None, target=None):
            from importlib.machinery import ModuleSpec

            return ModuleSpec(name, self) if name == "eqt_registering" else None

        def create_module(self, spec):
            return None

        def exec_module(self, module):
            et.models.register("in_module")(other)

    monkeypatch.setattr(sys, "meta_path", [Importer(), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "eqt_registering", raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert {"from_class", "in_module"} <= set(et.models.names())
        assert type(et.models.build("from_class", cutoff=3.0, species=[1])) is module.Net
        assert type(et.models.build("in_module", cutoff=3.0, species=[1])) is other


def test_plugins_are_not_imported_for_our_own_models(plugins):
    plugins(("broken", "eqt_no_such_module:Net"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        et.models.build("egnn", cutoff=3.0, species=[1])


@pytest.mark.parametrize("value", ["eqt_no_such_module:Net", "eqt_plugin:Missing", "eqt_plugin:number"])
def test_broken_plugin_warns_once(plugins, value):
    plugins(("broken", value)).number = 3
    with pytest.warns(PluginWarning, match="broken"):
        assert "egnn" in et.models.names()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        et.models.names()
        with pytest.raises(UnknownNameError):
            et.models.build("broken")


def test_backbone_must_keep_its_word():
    class Liar(Mine):
        def forward(self, graph):
            return {"node_features": graph.positions}

    class Mute(Mine):
        def forward(self, graph):
            return {}

    class Lazy(Backbone):
        pass

    graph = et.graph.Graph.from_arrays([[0, 0, 0], [0, 0, 1]], [1, 1], cutoff=3.0)
    config = ModelConfig(cutoff=3.0, species=[1])
    Liar.irreps_out = Irreps("3x0e")
    with pytest.raises(ShapeError, match="keys"):
        Potential(Mute(config))(graph)
    liar = Liar(config)
    liar.irreps_out = Irreps("2x0e")
    with pytest.raises(ShapeError, match=r"\[2, 2\]"):
        Potential(liar)(graph)
    with pytest.raises(EquitoolsError, match="forward"):
        Lazy(config)(graph)
    with pytest.raises(ConfigError, match="register"):
        Mine(config).spec()


def test_unregistered_subclass_has_no_spec():
    """Its inherited name would make a file that loads as the parent."""
    et.models.register("mine")(Mine)
    config = ModelConfig(cutoff=3.0, species=[1])
    assert Mine(config).spec()["backbone"]["name"] == "mine"
    with pytest.raises(ConfigError, match="Other has no registered name"):
        Other(config).spec()


def test_elements_agree_with_ase():
    from ase.data import chemical_symbols, covalent_radii

    assert list(SYMBOLS) == chemical_symbols[1:]
    assert list(COVALENT_RADII) == [round(float(r), 2) for r in covalent_radii[1:97]]
    assert [atomic_number(x) for x in ("O", "8", 8, torch.tensor(8))] == [8, 8, 8, 8]
    for wrong in (True, 0, 119, "", "o", None, 8.0):
        with pytest.raises(ConfigError):
            atomic_number(wrong)
