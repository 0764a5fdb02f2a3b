"""The known faults of published code are flagged, each under its heading; their mended twins pass."""

from __future__ import annotations

import faulty_modules as fm
import pytest
import torch
from torch import Tensor

from equitools.symmetrize import FrameAverage
from equitools.testing import point_report

TURNS = {"rotation", "reflection"}
BATCH, SIZE = 5, 7


def clouds(size: int = SIZE, batch: int = BATCH) -> Tensor:
    return torch.randn(batch, size, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def some_padding() -> Tensor:
    mask = torch.ones(BATCH, SIZE, dtype=torch.bool)
    mask[0, 5:] = mask[2, 4:] = False
    return mask


def symmetric_clouds() -> list[Tensor]:
    """Equal second moments: an octahedron and (with two of three equal) a stretched one, with a marked point each."""
    corners = torch.cat([torch.eye(3), -torch.eye(3), torch.zeros(1, 3)]).double()
    stretched = corners * torch.tensor([1.0, 1.0, 1.7]).double()
    return [corners.repeat(BATCH, 1, 1), stretched.repeat(BATCH, 1, 1)]


#: module, group, representation of the output, rows that must fail, further options
CASES = [
    (fm.LaboratorySigns, "E(3)", "scalar", TURNS, {}),
    (fm.ImproperFallback, "SE(3)", "scalar", {"mirror image"}, {"chiral": True}),
    (fm.OnlyAboutZ, "SO(3)", "scalar", {"rotation"}, {}),
    (fm.BiasedVectors, "E(3)", "vector", TURNS, {}),
    (fm.ComponentDropout, "E(3)", "vector", TURNS, {"training": True}),
    (fm.CrossProductFeature, "E(3)", "vector", {"reflection"}, {}),
    (fm.ThreeVectorFrame, "SE(3)", "scalar", {"mirror image"}, {"chiral": True}),
    (fm.DetachedFrame, "E(3)", {"energy": "scalar", "forces": "vector"}, {"gradient", "forces"},
     {"conservative": ("energy", "forces")}),
    (fm.MeanOverCoordinates, "E(3)", "vector", {*TURNS, "translation"}, {}),
    (fm.BatchStatistics, "E(3)", "scalar", {"batch"}, {}),
    (fm.OneEigenvectorChoice, "E(3)", "scalar", TURNS, {}),
    (fm.JumpingFrames, "E(3)", "scalar", {"continuity"}, {"degenerate": "symmetric", "mask": None}),
    (fm.ChangesCharges, "E(3)", "scalar", {"input unchanged"}, {"charges": True}),
]  # fmt: skip


def report_of(module, group, outputs, options):
    options = dict(options)
    mask = options.pop("mask", some_padding())
    values, inputs = [clouds()], ["points"]
    if options.pop("charges", False):
        values.append(torch.randn(BATCH, SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
        inputs.append("scalar")
    if options.get("degenerate") == "symmetric":
        options["degenerate"] = symmetric_clouds()
    return point_report(module, values, group, inputs, outputs, mask=mask, any_size=mask is not None, **options)


@pytest.mark.parametrize(("module", "group", "outputs", "rows", "options"), CASES, ids=[c[0].__name__ for c in CASES])
def test_flags_known_faults(module, group, outputs, rows, options):
    """Property: a failed row under the right heading and no other; the mended twin passes all of them."""
    broken = report_of(module(broken=True), group, outputs, options)
    assert set(broken.broken) == rows, str(broken)
    mended = report_of(module(broken=False), group, outputs, options)
    assert mended.passed, str(mended)
    assert rows <= {row.transformation for row in mended.rows}
    assert not any(row.vacuous for row in mended.rows if row.transformation not in {"mirror image"}), str(mended)


@pytest.mark.parametrize(
    ("module", "outputs", "row"),
    [(fm.FiveParticles, "scalar", "batch"), (fm.RemembersItsFrame, "vector", "after another call"),
     (fm.MixesClouds, "scalar", "batch")],
)  # fmt: skip
def test_flags_faults_that_break_more_than_one_promise(module, outputs, row):
    """What belongs to one cloud, or to the last call, reaches another: the row that says so has failed."""
    broken = point_report(module(broken=True), clouds(), "E(3)", outputs=outputs)
    assert row in broken.broken, str(broken)
    mended = point_report(module(broken=False), clouds(), "E(3)", outputs=outputs)
    assert mended.passed, str(mended)


def test_five_particles_pass_as_long_as_there_are_five():
    """Why nobody saw it: with 5 points to a cloud the hard-coded number is right."""
    assert point_report(fm.FiveParticles(broken=True), clouds(5), "E(3)").passed


def test_dropout_of_components_is_right_in_evaluation():
    """…which is why only the training mode shows it."""
    assert point_report(fm.ComponentDropout(broken=True), clouds(), "E(3)", outputs="vector").passed


def test_a_wrong_parity_is_a_wrong_declaration():
    """The cross product is right as what it is: a pseudovector."""
    module = fm.CrossProductFeature(broken=True)
    assert point_report(module, clouds(), "E(3)", outputs="pseudovector").passed
    assert point_report(module, clouds(), "SE(3)", outputs="vector").passed


def test_the_library_detaches_only_when_told():
    """`FrameAverage(detach=True)` is the published training trick, and no potential energy."""
    kept, cut = (FrameAverage(fm.Backbone(1), "E(3)", detach=detach) for detach in (False, True))
    assert point_report(kept, clouds(), "E(3)").passed
    assert set(point_report(cut, clouds(), "E(3)").broken) == {"gradient"}


def test_weighted_frames_do_not_jump_where_principal_axes_do():
    options = {"mask": None, "degenerate": symmetric_clouds()}
    weighted = FrameAverage(fm.Backbone(), "SE(3)", mode="weighted")
    assert point_report(weighted, clouds(), "SE(3)", **options).passed
    plain = fm.JumpingFrames(broken=True)
    assert point_report(plain, clouds(), "SE(3)", **options).broken == ("continuity",)
