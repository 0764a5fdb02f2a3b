"""The configuration of a training run: one pydantic class a section, closed to unknown keys, strict about types.

`load_config` reads a YAML file, applies ``key.sub=value`` overrides and returns a `TrainConfig`. Every mistake is a
`ConfigError` that names the key, what was given, and the nearest known key.
"""

from __future__ import annotations

import difflib
import math
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import Field

from equitools._atomic import write_text
from equitools.errors import ConfigError, nearest
from equitools.training.yamlio import apply_override, read_yaml

__all__ = [
    "DataConfig",
    "EarlyStopConfig",
    "LossConfig",
    "OptimizerConfig",
    "PotentialConfig",
    "ScheduleConfig",
    "SetConfig",
    "TrainConfig",
    "TrainerConfig",
    "dump_config",
    "load_config",
    "parse_config",
]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True)


class SetConfig(_Section):
    """A validation or test set: files, or a part of the training files that is held out.

    Attributes:
        path: Files.
        fraction: Share of the training files' structures, 0 to 1.
        count: Number of the training files' structures.
    """

    path: list[str] | None = None
    fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    count: Annotated[int, Field(gt=0)] | None = None

    @pydantic.model_validator(mode="after")
    def _one(self) -> SetConfig:
        if sum(value is not None for value in (self.path, self.fraction, self.count)) != 1:
            raise ValueError("give one of: a path, {fraction: 0.1}, {count: 50}")
        return self


def _as_set(value: Any) -> Any:
    if isinstance(value, str):
        return {"path": [value]}
    if isinstance(value, list):
        return {"path": value}
    if isinstance(value, dict) and isinstance(value.get("path"), str):
        return {**value, "path": [value["path"]]}
    return value


class DataConfig(_Section):
    """Where structures and labels come from.

    Attributes:
        train: One path, or several.
        valid: A path, ``{fraction: 0.1}`` or ``{count: 50}``, taken from the training files by ``seed``.
        test: As ``valid``, or null for none.
        labels: Name of a label -> key in the file; labels that go by ASE's own names need no entry.
        batch_size: Structures in one step (of each process, under torchrun).
        eval_batch_size: Structures in one batch of validation and testing; null for four times ``batch_size``.
        train_size: Train on that many structures only, chosen by ``seed``; null for all.
        split: A split file of an earlier run to use again, instead of drawing one.
        allow_suspicious: Train on labels whose size points at wrong or mixed units (forces of 1e3 eV/Å).
    """

    train: list[str]
    valid: SetConfig = SetConfig(fraction=0.1)
    test: SetConfig | None = None
    labels: dict[str, str] = {}
    batch_size: Annotated[int, Field(gt=0)] = 10
    eval_batch_size: Annotated[int, Field(gt=0)] | None = None
    train_size: Annotated[int, Field(gt=0)] | None = None
    split: str | None = None
    allow_suspicious: bool = False

    @pydantic.field_validator("train", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @pydantic.field_validator("valid", "test", mode="before")
    @classmethod
    def _set(cls, value: Any) -> Any:
        return _as_set(value)


class PotentialConfig(_Section):
    """How node features become energies.

    Attributes:
        reference_energies: ``fit`` (least squares over the training set), ``average`` (the mean energy per atom for
            every element), ``none``, a table such as ``{H: -13.6, C: -1029.2}`` in eV, or ``{file: isolated.xyz}``.
        scale: ``forces_rms`` (of the training set, per component) or a number in eV.
        shift: eV per atom, or ``mean``: what the reference energies leave of the training energies per atom on
            average. The network then starts near the truth; an isolated atom has its reference energy plus the shift,
            so take 0 where the energies of separated atoms matter more.
        zbl: Add the Ziegler–Biersack–Littmark repulsion.
        hidden: Width of the readout's perceptron.
        direct_forces: Read forces from vectors among the features instead of differentiating the energy; the model
            must have some (``vectors: true`` of ``faenet``).
    """

    reference_energies: Any = "fit"
    scale: Any = "forces_rms"
    shift: Any = "mean"
    zbl: bool = False
    hidden: Annotated[int, Field(gt=0)] = 16
    direct_forces: bool = False

    @pydantic.field_validator("reference_energies")
    @classmethod
    def _references(cls, value: Any) -> Any:
        if value is None:
            return "none"
        if value in ("fit", "average", "none"):
            return value
        if isinstance(value, Mapping) and set(value) == {"file"} and isinstance(value["file"], str):
            return dict(value)
        if isinstance(value, Mapping) and value and all(_is_number(item) for item in value.values()):
            return {key: float(item) for key, item in value.items()}
        raise ValueError("must be fit, average, none, a table such as {H: -13.6} in eV, or {file: isolated.xyz}")

    @pydantic.field_validator("scale")
    @classmethod
    def _scale(cls, value: Any) -> Any:
        if value == "forces_rms":
            return value
        if _is_number(value) and value > 0:
            return float(value)
        raise ValueError("must be forces_rms or a positive number in eV")

    @pydantic.field_validator("shift")
    @classmethod
    def _shift(cls, value: Any) -> Any:
        if value == "mean":
            return value
        if _is_number(value):
            return float(value)
        raise ValueError("must be mean or a number in eV per atom")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


class LossConfig(_Section):
    """What is minimised: the weighted sum of the terms whose weight is not 0.

    Attributes:
        energy: Weight of the energy per atom (eV). Null: 1 for a potential.
        forces: Weight of the force components (eV/Å). Null: 100 for a potential.
        stress: Weight of the stress components (eV/Å³). Null: 0.
        consistency: Weight of the difference of direct forces and the gradient of the energy (eV/Å);
            ``potential.direct_forces`` only.
        target: Weight of a head's output.
        kind: ``mse``, ``mae`` or ``huber``; a class head always uses the cross entropy.
        huber_delta: Where ``huber`` turns from square to linear, in the units above.
        standardise: Divide a head's error by the spread of its label, so that the loss has no unit.
    """

    energy: NonNegative | None = None
    forces: NonNegative | None = None
    stress: NonNegative | None = None
    consistency: NonNegative = 0.0
    target: NonNegative = 1.0
    kind: Literal["mse", "mae", "huber"] = "mse"
    huber_delta: Positive = 0.01
    standardise: bool = True


class OptimizerConfig(_Section):
    """Adam or AdamW.

    Attributes:
        kind: ``adam`` or ``adamw``.
        lr: Highest learning rate.
        weight_decay: Applied to matrices only, not to biases and norms.
        betas: Averaging of gradient and squared gradient.
        eps: Added to the denominator.
        amsgrad: Use the largest second moment seen.
    """

    kind: Literal["adam", "adamw"] = "adam"
    lr: Positive = 0.01
    weight_decay: NonNegative = 0.0
    betas: list[Annotated[float, Field(ge=0, lt=1)]] = Field(default=[0.9, 0.999], min_length=2, max_length=2)
    eps: Positive = 1e-8
    amsgrad: bool = True


class ScheduleConfig(_Section):
    """How the learning rate goes from its highest value down.

    Attributes:
        kind: ``constant``, ``cosine``, ``exponential`` (both reach ``min_factor`` at the end) or ``plateau``.
        warmup_steps: Steps of linear rise at the start.
        min_factor: Lowest learning rate as a share of the highest.
        factor: ``plateau``: multiply by this ...
        patience: ... after so many validations without a better score.
        over: The end that cosine and exponential aim at: ``epochs`` (``trainer.max_epochs``), or ``time`` (whichever
            of ``max_epochs`` and ``max_time_minutes`` comes first; such a run cannot be repeated bit for bit).
    """

    kind: Literal["constant", "cosine", "exponential", "plateau"] = "cosine"
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    min_factor: Annotated[float, Field(ge=0, le=1)] = 0.01
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    patience: Annotated[int, Field(gt=0)] = 20
    over: Literal["epochs", "time"] = "epochs"


class EarlyStopConfig(_Section):
    """Stop when the validation score has not improved.

    Attributes:
        patience: Validations without improvement.
        min_delta: Smallest relative improvement that counts.
    """

    patience: Annotated[int, Field(gt=0)]
    min_delta: NonNegative = 0.0


class TrainerConfig(_Section):
    """How long, where, and what is written down.

    Attributes:
        max_epochs: Passes over the training set.
        max_time_minutes: Wall time, counted over resumes; null for no limit.
        accelerator: ``cpu``, ``gpu`` or ``auto``.
        valid_every: Validate after so many epochs.
        loggers: ``csv``, ``tensorboard``, ``wandb``.
        deterministic: Ask torch for deterministic kernels, which bit-for-bit resumption needs.
        progress: Show a progress bar (on a terminal) or one line an epoch.
    """

    max_epochs: Annotated[int, Field(gt=0)] = 100
    max_time_minutes: Positive | None = None
    accelerator: Literal["cpu", "gpu", "auto"] = "auto"
    valid_every: Annotated[int, Field(gt=0)] = 1
    loggers: list[Literal["csv", "tensorboard", "wandb"]] = ["csv"]
    deterministic: bool = True
    progress: bool = True


class TrainConfig(_Section):
    """A whole training run; see docs for an annotated example.

    Attributes:
        seed: Of the split, the initial weights and the order of the data.
        dtype: ``float32`` or ``float64``, of parameters and geometry.
        output: Folder that the run writes to.
        resume: Continue from ``last.ckpt`` in that folder.
        overwrite: Allow a run to replace another one's files in that folder.
        data: See `DataConfig`.
        model: ``name``, ``cutoff`` and the fields of that model's own configuration; species are inferred.
        potential: See `PotentialConfig`; excludes ``head``.
        head: ``kind`` (scalar, dipole, node_vector, class), ``name`` and that head's options.
        loss: See `LossConfig`.
        optimizer: See `OptimizerConfig`.
        schedule: See `ScheduleConfig`.
        ema: Decay of the running average of the weights that is validated and saved; null for none.
        clip: Largest norm of the gradient; null for no limit.
        early_stop: See `EarlyStopConfig`.
        trainer: See `TrainerConfig`.
    """

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    dtype: Literal["float32", "float64"] = "float32"
    output: str = "runs/train"
    resume: bool = False
    overwrite: bool = False
    data: DataConfig
    model: dict[str, Any]
    potential: PotentialConfig | None = None
    head: dict[str, Any] | None = None
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    ema: Annotated[float, Field(gt=0, lt=1)] | None = 0.99
    clip: Positive | None = 10.0
    early_stop: EarlyStopConfig | None = None
    trainer: TrainerConfig = TrainerConfig()

    @pydantic.field_validator("schedule", mode="before")
    @classmethod
    def _named_schedule(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        if self.head is not None:
            if self.potential is not None:
                raise ValueError("give either potential (energies and forces) or head (any other target), not both")
            given = [name for name in ("energy", "forces", "stress") if getattr(self.loss, name) is not None]
            if given:
                raise ValueError(f"loss.{given[0]} belongs to a potential; a head's weight is loss.target")
            for key in ("kind", "name"):
                if not isinstance(self.head.get(key), str):
                    raise ValueError(f"head.{key} is missing, for example head: {{kind: scalar, name: gap}}")
            if self.loss.target == 0:
                raise ValueError("loss.target is 0, so that there is nothing to train on")
        elif not any(self.weights().values()):
            raise ValueError("all loss weights are 0, so that there is nothing to train on")
        if not isinstance(self.model.get("name"), str):
            raise ValueError("model.name is missing, for example model: {name: egnn, cutoff: 5.0}")
        direct = self.potential is not None and self.potential.direct_forces
        if self.loss.consistency and not direct:
            raise ValueError("loss.consistency compares direct forces with a gradient: set potential.direct_forces")
        if direct and self.loss.stress:
            raise ValueError("direct forces have no stress: set loss.stress to 0")
        if self.schedule.over == "time" and self.trainer.max_time_minutes is None:
            raise ValueError("schedule.over = time needs trainer.max_time_minutes")
        return self

    def weights(self) -> dict[str, float]:
        """Return the weight of each label that the loss uses, weights of 0 left out."""
        if self.head is not None:
            return {str(self.head["name"]): self.loss.target}
        defaults = {"energy": 1.0, "forces": 100.0, "stress": 0.0}
        given = {name: getattr(self.loss, name) for name in defaults}
        weights = {name: defaults[name] if given[name] is None else given[name] for name in defaults}
        return {name: weight for name, weight in weights.items() if weight}


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a training configuration from YAML.

    Relative data paths are looked for in the current folder first, and else in the configuration file's folder; the
    returned configuration has them absolute. ``output`` is relative to the current folder.

    Args:
        path: The YAML file.
        overrides: ``key.sub=value``; the value is YAML, so that ``loss.forces=10``, ``ema=null`` and
            ``data.valid={fraction: 0.2}`` do what they say.

    Raises:
        ConfigError: For a missing, empty or invalid file, an unknown key or a wrong value.
    """
    values = read_yaml(Path(path))
    for override in overrides:
        apply_override(values, override)
    return parse_config(values, folder=Path(path).resolve().parent)


def parse_config(values: Mapping[str, Any], folder: Path | None = None) -> TrainConfig:
    """Make a `TrainConfig` of plain values, as `load_config` does of a file.

    Args:
        values: Nested mappings, as YAML gives them.
        folder: Where relative data paths are looked for after the current folder.

    Raises:
        ConfigError: For an unknown key or a wrong value.
    """
    try:
        config = TrainConfig.model_validate(values)
    except pydantic.ValidationError as error:
        raise ConfigError(_explain(error)) from error
    return _with_paths(config, folder or Path.cwd())


def dump_config(config: TrainConfig, path: str | Path) -> None:
    """Write the whole configuration, defaults included, as YAML that `load_config` reads again."""
    values = config.model_dump(mode="json")
    write_text(path, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def _with_paths(config: TrainConfig, folder: Path) -> TrainConfig:
    def find(name: str) -> str:
        here, there = Path(name), folder / name
        chosen = here if here.exists() or not there.exists() else there
        return str(chosen.resolve())

    def find_set(part: SetConfig | None) -> SetConfig | None:
        if part is None or part.path is None:
            return part
        return part.model_copy(update={"path": [find(name) for name in part.path]})

    data = config.data
    data = data.model_copy(
        update={
            "train": [find(name) for name in data.train],
            "valid": find_set(data.valid),
            "test": find_set(data.test),
            "split": None if data.split is None else find(data.split),
        }
    )
    update: dict[str, Any] = {"data": data}
    references = None if config.potential is None else config.potential.reference_energies
    if config.potential is not None and isinstance(references, dict) and "file" in references:
        table = {"file": find(str(references["file"]))}
        update["potential"] = config.potential.model_copy(update={"reference_energies": table})
    return config.model_copy(update=update)


def _section_fields(location: Sequence[Any]) -> list[str]:
    """Return the known keys of the section that a location such as ("loss", "forcse") lies in."""
    section: Any = TrainConfig
    for part in location[:-1]:
        fields = getattr(section, "model_fields", {})
        if part not in fields:
            return []
        section = _model_in(fields[part].annotation)
    return list(getattr(section, "model_fields", {}))


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        options = [_model_in(part) for part in typing.get_args(annotation)]
        return next((option for option in options if option is not None), None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel) else None


def _everywhere(name: str) -> str | None:
    """Return the path of the nearest key in any section: a user who wrote ``lr`` meant ``optimizer.lr``."""
    paths: dict[str, str] = {}
    for key, field in TrainConfig.model_fields.items():
        section = _model_in(field.annotation)
        for sub in getattr(section, "model_fields", {}):
            paths.setdefault(sub, f"{key}.{sub}")
    close = difflib.get_close_matches(name, paths, n=1, cutoff=0.85)
    return paths[close[0]] if close else None


def _explain(error: pydantic.ValidationError) -> str:
    sentences = []
    for item in error.errors(include_url=False):
        location = [part for part in item["loc"] if not str(part).startswith(("constrained-", "function-"))]
        key = ".".join(str(part) for part in location)
        given = repr(item["input"])
        given = given if len(given) < 80 else given[:77] + "..."
        kind = f"{given} ({type(item['input']).__name__})"
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            known = _section_fields(location)
            other = _everywhere(str(location[-1]))
            hint = f"Did you mean {other!r}? Known here: {', '.join(sorted(known))}." if other else ""
            if not other or difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5):
                hint = nearest(str(location[-1]), known)
            sentences.append(f"Unknown key {key!r} in the configuration. {hint}")
        elif item["type"] == "missing":
            sentences.append(f"The configuration lacks {key!r}, which must be given.")
        elif not key:
            sentences.append(f"The configuration contradicts itself: {message}.")
        else:
            sentences.append(f"{key}: {message[:1].lower()}{message[1:]}, but was given {kind}.")
    return " ".join(sentences)
