from __future__ import annotations

import tarfile

import numpy as np
import pytest

from equitools import data
from equitools.data.qm9 import parse_qm9
from equitools.errors import DataError, UnknownNameError, UnknownSpeciesError

HARTREE = 27.211386024367243

# files of the raw form; geometries and numbers are made up, near those of small molecules
METHANE = """5
gdb {number}\t157.7\t157.6\t157.5\t0.\t13.2\t-0.39\t0.12\t0.51\t35.4\t0.0447\t-40.5\t-40.4\t-40.3\t-40.6\t6.5\t
C\t0.\t0.\t0.\t-0.5
H\t0.63\t0.63\t0.63\t 0.125
H\t-0.63\t-0.63\t0.63\t 0.125
H\t-0.63\t0.63\t-0.63\t 0.125
H\t0.63\t-0.63\t-0.63\t 1.25*^-1
1341.3\t1341.4\t1341.5
C\tC
InChI=1S/CH4/h1H4\tInChI=1S/CH4/h1H4
"""
AMMONIA = """4
gdb {number}\t293.6\t293.5\t191.4\t1.6256\t9.5\t-0.25\t8.3*^-2\t0.34\t26.2\t3.4*^-2\t-56.5\t-56.4\t-56.3\t-56.6\t6.3\t
N\t0.\t0.\t2.5*^-6\t-0.7
H\t0.94\t0.\t-0.38\t0.233
H\t-0.47\t0.81\t-0.38\t0.233
H\t-0.47\t-0.81\t-0.38\t0.234
1103.9\t1684.2
N\tN
InChI=1S/H3N/h1H3\tInChI=1S/H3N/h1H3
"""
EXCLUSIONS = """The following molecules did not pass the consistency test:
3 molecules of 133885 are listed here

Index     SMILES (input)     SMILES (relaxed)    distance
=======  ======  ======  ====
{rows}
"""
ROWS = [
    "     2      C1=CN=C1       [CH]=C.N   0.4",
    "     4   O=C  C=O   0.1",
    "   133885   [NH3+]CC([O-])=O  NCC(O)=O  0.2",
]
ATOMREF = """
===== free atoms =====
  Ele-    ZPVE         U (0 K)      U (298.15 K)    H (298.15 K)    G (298.15 K)     CV
   H     0.000000     -0.500000      -0.490000        -0.480000       -0.510000     2.981
   C     0.000000    -37.800000     -37.700000       -37.600000      -37.900000     2.981
   N     0.000000    -54.600000     -54.500000       -54.400000      -54.700000     2.981
   O     0.000000    -75.100000     -75.000000       -74.900000      -75.200000     2.981
   F     0.000000    -99.700000     -99.600000       -99.500000      -99.800000     2.981
"""


@pytest.fixture
def folder(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    for number in range(1, 6):
        text = (METHANE if number % 2 else AMMONIA).format(number=number)
        (raw / f"dsgdb9nsd_{number:06d}.xyz").write_text(text)
    return raw


def numbers(structures) -> list[int]:
    return [structure.info["gdb"] for structure in structures]


def test_reads_properties_and_units(folder):
    methane, ammonia = data.read_qm9(folder)[:2]
    assert methane.labels["u0"] == pytest.approx(-40.5 * HARTREE)
    assert methane.labels["gap"] == pytest.approx(0.51 * HARTREE)
    assert methane.labels["mu"] == 0.0
    assert methane.labels["cv"] == 6.5
    assert methane.labels["rotational_a"] == 157.7
    np.testing.assert_allclose(methane.labels["charges"], [-0.5, 0.125, 0.125, 0.125, 0.125])
    assert methane.numbers.tolist() == [6, 1, 1, 1, 1]
    assert methane.info == {"gdb": 1, "smiles": "C"}
    assert ammonia.labels["lumo"] == pytest.approx(0.083 * HARTREE)
    assert ammonia.positions[0, 2] == pytest.approx(2.5e-6)
    assert set(methane.labels) == {*data.QM9_TARGETS, "charges"}
    text = str(data.census([methane, ammonia]))
    assert "cal/(mol K)" in text
    graph = data.Dataset([methane, ammonia], 3.0)[1]
    assert graph.labels["u0"].item() == pytest.approx(-56.5 * HARTREE, abs=1e-9)


def test_every_column_goes_to_its_target():
    text = METHANE.format(number=1)
    values = text.splitlines()[1].split()[2:]
    structure = parse_qm9(text, "memory")
    for name, target in data.QM9_TARGETS.items():
        assert structure.labels[name] == pytest.approx(float(values[target.column]) * target.factor)


def test_chosen_targets(folder):
    assert set(data.read_qm9(folder, ["homo"])[0].labels) == {"homo", "charges"}
    with pytest.raises(UnknownNameError, match="Did you mean 'homo'"):
        data.read_qm9(folder, ["hom"])


def test_excludes_by_gdb_number(folder):
    everything = data.read_qm9(folder)
    assert numbers(everything) == [1, 2, 3, 4, 5]
    (folder / "uncharacterized.txt").write_text(EXCLUSIONS.format(rows="\n".join(ROWS)))
    kept = data.read_qm9(folder)
    assert numbers(kept) == [1, 3, 5]
    assert [structure.index for structure in kept] == [0, 1, 2]
    assert numbers(data.read_qm9(folder, exclude=())) == [1, 2, 3, 4, 5]
    assert numbers(data.read_qm9(folder, exclude=[1])) == [2, 3, 4, 5]
    # a missing file does not shift the numbers of those behind it
    (folder / "dsgdb9nsd_000001.xyz").unlink()
    assert numbers(data.read_qm9(folder)) == [3, 5]


def test_archive(folder, tmp_path):
    archive = tmp_path / "dsgdb9nsd.xyz.tar.bz2"
    with tarfile.open(archive, "w:bz2") as tar:
        for file in sorted(folder.iterdir(), reverse=True):
            tar.add(file, arcname=file.name)
    (tmp_path / "uncharacterized.txt").write_text(EXCLUSIONS.format(rows="\n".join(ROWS)))
    assert numbers(data.read_qm9(archive)) == [1, 3, 5]
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="truncated"):
        data.read_qm9(archive)


def test_exclusion_list(tmp_path):
    path = tmp_path / "uncharacterized.txt"
    path.write_text(EXCLUSIONS.format(rows="\n".join(ROWS)))
    assert data.read_exclusions(path) == {2, 4, 133885}
    path.write_text(EXCLUSIONS.format(rows="\n".join(ROWS[:2])))
    with pytest.raises(DataError, match="says that it lists 3 compounds, but holds 2"):
        data.read_exclusions(path)
    path.write_text("nothing here")
    with pytest.raises(DataError, match="no QM9 exclusion list"):
        data.read_exclusions(path)
    with pytest.raises(DataError, match="does not exist"):
        data.read_exclusions(tmp_path / "none.txt")


@pytest.mark.parametrize("lines", [0, 1, 2, 4, 6, 7])
def test_truncated_files(folder, lines):
    file = folder / "dsgdb9nsd_000003.xyz"
    file.write_text("\n".join(file.read_text().splitlines()[:lines]))
    with pytest.raises(DataError, match="dsgdb9nsd_000003"):
        data.read_qm9(folder)


def test_bad_files(folder, tmp_path):
    file = folder / "dsgdb9nsd_000003.xyz"
    text = file.read_text()
    for wrong, words in ((text.replace("gdb 3", "gdb 7"), "inside that it is gdb 7"),
        (text.replace("13.2", "NaN"), "finite"),
                         (text.replace("C\t0.", "Xx\t0."), "no raw QM9 file")):  # fmt: skip
        file.write_text(wrong)
        with pytest.raises(DataError, match=words):
            data.read_qm9(folder)
    with pytest.raises(DataError, match="holds no file"):
        data.read_qm9(_empty(tmp_path))
    with pytest.raises(DataError, match="does not exist"):
        data.read_qm9(tmp_path / "none")
    file.write_text(text)
    with pytest.raises(DataError, match="All 5"):
        data.read_qm9(folder, exclude=range(1, 6))
    with pytest.raises(DataError, match="from 1 to 133885"):
        data.read_qm9(folder, exclude=[0])


def _empty(tmp_path):
    path = tmp_path / "empty"
    path.mkdir()
    return path


def test_free_atoms(folder, tmp_path):
    path = tmp_path / "atomref.txt"
    path.write_text(ATOMREF)
    table = data.read_atomref(path)
    assert table["u0"][1] == pytest.approx(-0.5 * HARTREE)
    assert table["cv"][6] == 2.981
    structures = data.read_qm9(folder, ["u0", "gap"])
    relative = data.subtract_atomref(structures, table)
    assert relative[0].labels["u0"] == pytest.approx((-40.5 + 37.8 + 4 * 0.5) * HARTREE)
    assert relative[0].labels["gap"] == structures[0].labels["gap"]
    assert structures[0].labels["u0"] == pytest.approx(-40.5 * HARTREE)
    with pytest.raises(UnknownSpeciesError):
        data.subtract_atomref(structures, {"u0": {1: 0.0}})
    path.write_text(ATOMREF.replace("   F ", "   Z "))
    with pytest.raises(DataError, match="no row for F"):
        data.read_atomref(path)


def test_cormorant_sizes():
    parts = data.qm9_split(130831)
    assert [len(parts[name]) for name in ("train", "valid", "test")] == [100000, 17748, 13083]
    assert np.unique(np.concatenate(list(parts.values()))).size == 130831
    order = np.random.RandomState(0).permutation(130831)
    assert set(parts["test"].tolist()) == set(order[117748:].tolist())
    other = data.qm9_split(130831, "110k", seed=1)
    assert [len(other[name]) for name in ("train", "valid", "test")] == [110000, 10000, 10831]
    with pytest.raises(DataError, match="130831"):
        data.qm9_split(133885)
    with pytest.raises(DataError, match="particular draw"):
        data.qm9_split(130831, seed=1)
    with pytest.raises(UnknownNameError, match="cormorant"):
        data.qm9_split(130831, "cormoran")
