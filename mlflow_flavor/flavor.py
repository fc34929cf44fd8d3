"""Save, log and load models of synthetic tables with MLflow.

The ``mlflow_flavor`` module provides an API for logging and loading generators of synthetic tables.
This module exports models with the following flavors:

Synthetic (native) format
    This is the main flavor that can be loaded back as a ``synth_components.Model``.
:py:mod:`mlflow.pyfunc`
    Produced for use by generic pyfunc-based deployment tools and batch inference.

A model folder is what ``Model.save`` writes, under ``model/``, beside the files that MLflow adds.
"""

from __future__ import annotations

import ast
import datetime
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import yaml
from mlflow import MlflowClient, pyfunc
from mlflow.exceptions import MlflowException
from mlflow.models import Model as MlflowModel
from mlflow.models import ModelSignature, infer_pip_requirements
from mlflow.models.model import MLMODEL_FILE_NAME, ModelInfo
from packaging.requirements import InvalidRequirement, Requirement

from mlflow_flavor import _mlflow as private
from mlflow_flavor import lineage
from mlflow_flavor.signature import get_default_signature
from synth_components.circumstances import circumstance
from synth_components.errors import ArtifactError
from synth_components.generators import GROUP, brought, module_of, names
from synth_components.io.artifact import FORMAT_VERSION, MANIFEST, SEALED, main_file
from synth_components.model import Model
from synth_components.policy import guard

FLAVOR_NAME = "synthetic"
MODEL_TYPE = "synthetic-tabular"

DEFAULT_MAX_ROWS = 1_000_000
"""Rows that one pyfunc call may ask for, unless ``model_config`` says otherwise as the model is loaded."""

F = TypeVar("F", bound=Callable[..., Any])

_LIBRARY = "synth-components"
_LOADER_MODULE = "mlflow_flavor"
DATA = "model"
_LAST_ENTRY = "utc_time_created"
"""What MLflow writes last into an MLmodel, whose entries it sorts."""


def get_default_pip_requirements() -> list[str]:
    """Return the pip requirements of every model of this flavor: this library and what it needs, as installed here.

    All are pinned, for the same rows come from the same versions only.
    """
    needed = [Requirement(text) for text in requires(_LIBRARY) or ()]
    core = sorted(need.name for need in needed if need.marker is None or need.marker.evaluate({"extra": ""}))
    return [f"{name}=={version(name).partition('+')[0]}" for name in (_LIBRARY, *core)]


def get_default_conda_env() -> dict[str, Any]:
    """Return the Conda environment of models that ``save_model`` and ``log_model`` write."""
    env: dict[str, Any] = private.conda_env_of(additional_pip_deps=get_default_pip_requirements())
    return env


def documented(function: F) -> F:
    """Return the function with MLflow's own words for the arguments that all flavors share."""
    documented: F = private.format_docstring(private.LOG_MODEL_PARAM_DOCS.format(package_name=_LIBRARY))(function)
    return documented


@documented
def save_model(
    synth_model: Model,
    path: str | Path,
    conda_env: str | dict[str, Any] | None = None,
    code_paths: list[str] | None = None,
    mlflow_model: MlflowModel | None = None,
    signature: ModelSignature | Literal[False] | None = None,
    input_example: Any = None,  # noqa: ANN401 - MLflow takes many kinds
    pip_requirements: str | list[str] | None = None,
    extra_pip_requirements: str | list[str] | None = None,
    metadata: dict[str, Any] | None = None,
    extra_files: list[str] | None = None,
) -> None:
    """Save a model of a synthetic table to a path on the local file system, whole or not at all.

    Args:
        synth_model: What ``synth.fit`` or ``synth.load`` returned.
        path: Local path where the model is to be saved: a new or an empty folder.
        conda_env: {{ conda_env }}
        code_paths: A list of local filesystem paths to Python file dependencies (or directories containing file
            dependencies).  Needed for a generator that no installed package declares: its module goes here.
        mlflow_model: :py:mod:`mlflow.models.Model` this flavor is being added to.
        signature: A signature to record in place of ``get_default_signature(synth_model)``; ``False`` for none.
        input_example: {{ input_example }}
            It is stored as given: no training rows, please; ``mlflow_flavor.signature.synthetic_example`` makes one.
        pip_requirements: {{ pip_requirements }}
        extra_pip_requirements: {{ extra_pip_requirements }}
        metadata: {{ metadata }}
        extra_files: {{ extra_files }}

    Raises:
        GuardError: if the model holds training rows: an MLflow model is there to be passed on; ``Model.save`` keeps it.
        MlflowException: if the path is taken, a column has no name, or the generator could not be loaded again.
    """
    private.validate_env_arguments(conda_env, pip_requirements, extra_pip_requirements)
    guard.refuse_rows(synth_model.manifest, to="MLflow")
    _require_names(synth_model)
    target = Path(path).absolute()
    with _whole(target):
        private.prepare_target(str(target))
        code = private.copy_code_paths(code_paths, str(target))
        _require_loadable(synth_model.manifest.generator, target if code is None else target / code)
        mlflow_model = MlflowModel() if mlflow_model is None else mlflow_model
        private.save_example(mlflow_model, input_example, str(target))
        if signature is None:
            signature = get_default_signature(synth_model)
        if signature is not False:
            mlflow_model.signature = signature
        said = mlflow_model.metadata if metadata is None else metadata
        mlflow_model.metadata = plain({**lineage.metadata(synth_model), **(said or {})}, "metadata")
        synth_model.save(target / DATA)
        _add_flavors(synth_model, mlflow_model, target, code, private.copy_extra_files(extra_files, str(target)))
        _write_environment(synth_model, target, conda_env, pip_requirements, extra_pip_requirements)


def _add_flavors(
    synth_model: Model, mlflow_model: MlflowModel, target: Path, code: str | None, extra_files: Mapping[str, Any]
) -> None:
    """Write the MLmodel: how a pyfunc is loaded, what this flavour is, and how large the model is."""
    pyfunc.add_to_model(
        mlflow_model,
        loader_module=_LOADER_MODULE,
        conda_env=private.CONDA_ENV_FILE,
        python_env=private.PYTHON_ENV_FILE,
        code=code,
        model_config={"max_rows": DEFAULT_MAX_ROWS},
    )
    mlflow_model.add_flavor(
        FLAVOR_NAME,
        synth_components_version=version(_LIBRARY),
        model_type=type(synth_model).__name__,
        generator=synth_model.manifest.generator,
        format_version=FORMAT_VERSION,
        data=DATA,
        # The manifest holds the SHA-256 of each other file: with its own here, files of two models cannot be mixed.
        manifest_sha256=_sha256(main_file(target / DATA)),
        code=code,
        **extra_files,
    )
    mlflow_model.model_size_bytes = private.get_total_file_size(str(target))
    mlflow_model.save(str(target / MLMODEL_FILE_NAME))


def _write_environment(
    synth_model: Model,
    target: Path,
    conda_env: str | dict[str, Any] | None,
    pip_requirements: str | list[str] | None,
    extra_pip_requirements: str | list[str] | None,
) -> None:
    """Write conda.yaml, requirements.txt, python_env.yaml and, where there are any, constraints.txt."""
    if conda_env is not None:
        env, lines, constraints = private.process_conda_env(conda_env)
    else:
        default = None if pip_requirements is not None else _default_requirements(synth_model, target)
        env, lines, constraints = private.process_pip_requirements(default, pip_requirements, extra_pip_requirements)
    # MLflow takes any local wheel or folder with `/mlflow` in its path for itself, and then writes no pin of MLflow.
    if not any(_names_mlflow(line) for line in lines):
        lines = [_pinned_mlflow(), *lines]
        for part in env["dependencies"]:
            if isinstance(part, dict) and "pip" in part:
                part["pip"] = lines
    _write(target / private.CONDA_ENV_FILE, yaml.safe_dump(env, default_flow_style=False))
    if constraints:
        _write(target / private.CONSTRAINTS_FILE, "\n".join(constraints))
    _write(target / private.REQUIREMENTS_FILE, "\n".join(lines))
    private.PythonEnv.current().to_yaml(str(target / private.PYTHON_ENV_FILE))


def _default_requirements(synth_model: Model, target: Path) -> list[str]:
    """Return the default requirements, with the package that declares an outside generator, and what it imports.

    MLflow finds the imports by loading the model in a process of its own; generators of ours need no such search, which
    takes seconds.
    """
    default, generator = get_default_pip_requirements(), synth_model.manifest.generator
    points = [point for point in brought() if point.name == generator]
    opening = _opening_requirements() if main_file(target / DATA).name == SEALED else []
    if generator in names() and not points:
        module = module_of(generator)
        root = Path(str(module.__file__)).parents[module.__name__.count(".")]
        return [*default, *opening, *_optional_requirements(module.__name__, root)]
    declaring = [f"{point.dist.name}=={point.dist.version}" for point in points if point.dist is not None]
    inferred: list[str] = infer_pip_requirements(str(target), FLAVOR_NAME)
    return sorted({*default, *declaring, *opening, *inferred})


def _opening_requirements() -> list[str]:
    """Return what opens an encrypted model: the extra ``encryption``, and boto3 for a key of AWS."""
    libraries = ["cryptography", *(["boto3"] if circumstance("encrypt_key").startswith("kms:") else [])]
    return [f"{name}=={version(name)}" for name in libraries]


_ACCOUNTS = "synth_components.privacy.budget_file"
"""What a fit may ask, and no model that is drawn from."""


@cache
def _optional_requirements(module: str, root: Path) -> tuple[str, ...]:
    """Return the libraries of our extras that a module below ``root`` imports, itself or through others, pinned."""
    imported = {name.partition(".")[0] for name in _imports(module, root, {_ACCOUNTS})}
    extras = [need for need in map(Requirement, requires(_LIBRARY) or ()) if "extra" in str(need.marker)]
    asked: list[str] = []
    for need in extras:
        if need.name.lower().replace("-", "_") in imported:
            with suppress(PackageNotFoundError):  # the model was made without it, so it is not needed
                brackets = f"[{','.join(sorted(need.extras))}]" if need.extras else ""
                asked.append(f"{need.name}{brackets}=={version(need.name).partition('+')[0]}")
    return tuple(sorted(set(asked)))


def _imports(module: str, root: Path, seen: set[str]) -> Iterator[str]:
    """Yield what a module below ``root`` imports, anywhere in its text, and what the modules below ``root`` do."""
    file = root.joinpath(*module.split("."))
    file = file / "__init__.py" if file.is_dir() else file.with_name(f"{file.name}.py")
    if module in seen or not file.is_file():
        return
    seen.add(module)
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        found = [name.name for name in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            found = [node.module, *(f"{node.module}.{name.name}" for name in node.names)]
        for name in found:
            yield name
            if "." in name:  # not the package as a whole, of whose names the module asks for some
                yield from _imports(name, root, seen)


def _pinned_mlflow() -> str:
    return f"mlflow=={version('mlflow')}"


def _names_mlflow(requirement: str) -> bool:
    try:
        return Requirement(requirement).name.lower() in {"mlflow", "mlflow-skinny"}
    except InvalidRequirement:  # a path, a URL, or an option of pip
        return False


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


@contextmanager
def _whole(target: Path) -> Iterator[None]:
    """Remove ``target``, and the folders made for it, if the block fails; leave alone what was there before."""
    made = [folder for folder in (target, *target.parents) if not folder.exists()]
    refused = target.exists() and (not target.is_dir() or any(target.iterdir()))
    with ExitStack() as failed:  # by whatever: an interrupt too leaves nothing half-written
        if not refused:
            failed.callback(_remove, target, made)
        yield
        failed.pop_all()


def _remove(target: Path, made: Iterable[Path]) -> None:
    """Empty a folder, and remove those of ``made`` that are empty then."""
    for entry in target.iterdir() if target.is_dir() else ():
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    for folder in made:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _require_names(synth_model: Model) -> None:
    """Raise unless every column has a name that a signature can hold."""
    for columns in synth_model.schema.tables.values():
        if not all(isinstance(name, str) and name.strip() for name in columns):
            raise MlflowException.invalid_parameter_value(
                "the model has a column whose name is empty or no text; name every column and fit again"
            )


def _require_loadable(generator: str, code: Path) -> None:
    """Raise unless whoever loads the model will find its generator."""
    if generator not in names() and not _is_shipped(generator, code):
        raise MlflowException.invalid_parameter_value(
            f"no installed package declares the generator '{generator}', so the saved model could not be loaded; give "
            f"its module in code_paths, or install a package with the entry point {GROUP}"
        )


def _is_shipped(generator: str, code: Path) -> bool:
    """Return whether a folder of code holds the module of a generator."""
    module = code.joinpath(*generator.split("."))
    return module.with_name(f"{module.name}.py").is_file() or (module / "__init__.py").is_file()


def plain(value: object, where: str) -> Any:  # noqa: ANN401 - whatever YAML can hold
    """Return a value as YAML writes it: numpy scalars and arrays, tuples and paths become plain ones.

    Args:
        where: What the value is, for the message.

    Raises:
        MlflowException: for a value of another type.
    """
    match value:
        case np.generic() | np.ndarray():
            return plain(value.tolist(), where)
        case None | bool() | int() | float() | str():
            # A subclass, such as an enumeration of texts, is no plain value to YAML.
            return (
                value
                if value is None
                else next(kind for kind in (bool, int, float, str) if isinstance(value, kind))(value)
            )
        case Path():
            return str(value)
        case datetime.date():
            return value.isoformat()
        case Mapping():
            return {str(plain(name, where)): plain(held, f"{where}['{name}']") for name, held in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(held, where) for held in value]
        case _:
            raise MlflowException.invalid_parameter_value(
                f"{where} holds a {type(value).__name__}; give text, numbers, truth values, lists and maps"
            )


@documented
def log_model(
    synth_model: Model,
    artifact_path: str | None = None,
    conda_env: str | dict[str, Any] | None = None,
    code_paths: list[str] | None = None,
    registered_model_name: str | None = None,
    signature: ModelSignature | Literal[False] | None = None,
    input_example: Any = None,  # noqa: ANN401
    await_registration_for: int = private.AWAIT_SECONDS,
    pip_requirements: str | list[str] | None = None,
    extra_pip_requirements: str | list[str] | None = None,
    metadata: dict[str, Any] | None = None,
    extra_files: list[str] | None = None,
    name: str | None = None,
    params: dict[str, Any] | None = None,
    tags: dict[str, Any] | None = None,
    model_type: str | None = MODEL_TYPE,
    step: int = 0,
    model_id: str | None = None,
    **kwargs: Any,  # noqa: ANN401 - passed on to `Model.log`
) -> ModelInfo:
    """Log a model of a synthetic table as an MLflow model: into the active run, or without one.

    Args:
        synth_model: What ``synth.fit`` or ``synth.load`` returned.
        artifact_path: Deprecated. Use `name` instead.
        conda_env: {{ conda_env }}
        code_paths: A list of local filesystem paths to Python file dependencies (or directories containing file
            dependencies).  Needed for a generator that no installed package declares: its module goes here.
        registered_model_name: If given, create a model version under ``registered_model_name``, also creating a
            registered model if one with the given name does not exist.  The privacy guard is asked first, without a
            report: a policy that was named refuses what is not shown, and `synth mlflow register` takes one.
        signature: A signature to record in place of ``get_default_signature(synth_model)``; ``False`` for none.
        input_example: {{ input_example }}
            It is stored as given: no training rows, please; ``mlflow_flavor.signature.synthetic_example`` makes one.
        await_registration_for: Number of seconds to wait for the model version to finish being created and is in
            ``READY`` status.  Specify 0 or None to skip waiting.
        pip_requirements: {{ pip_requirements }}
        extra_pip_requirements: {{ extra_pip_requirements }}
        metadata: {{ metadata }}
        extra_files: {{ extra_files }}
        name: {{ name }}
        params: {{ params }}
        tags: {{ tags }}
        model_type: {{ model_type }}
        step: {{ step }}
        model_id: {{ model_id }}
            Its type and its parameters stay those that ``initialize_logged_model`` gave it.
        kwargs: Further arguments of ``mlflow.models.Model.log``, such as ``run_id`` and ``prompts``.

    Returns:
        A :py:class:`ModelInfo <mlflow.models.model.ModelInfo>` instance that contains the metadata of the logged model.

    Raises:
        GuardError: if the model holds training rows, or the policy does not allow to register it; nothing was logged.
    """
    import mlflow_flavor

    guard.refuse_rows(synth_model.manifest, to="MLflow")  # before MLflow makes a logged model that stays empty
    if registered_model_name:
        guard.release(synth_model, None, to=f"models:/{registered_model_name}")
    tags = {**lineage.tags(synth_model), **(tags or {})}
    info: ModelInfo = MlflowModel.log(
        artifact_path=artifact_path,
        name=name,
        flavor=mlflow_flavor,
        registered_model_name=registered_model_name,
        synth_model=synth_model,
        conda_env=conda_env,
        code_paths=code_paths,
        signature=signature,
        input_example=input_example,
        await_registration_for=await_registration_for,
        pip_requirements=pip_requirements,
        extra_pip_requirements=extra_pip_requirements,
        metadata=metadata,
        extra_files=extra_files,
        params=params,
        tags=tags,
        model_type=model_type,
        step=step,
        model_id=model_id,
        **kwargs,
    )
    if model_id is not None:  # MLflow sets tags as it makes a logged model, and this one exists already
        MlflowClient().set_logged_model_tags(model_id, tags)
    if info.run_id is not None:
        lineage.log_training_dataset(synth_model, info.run_id)
    return info


def load_model(model_uri: str | Path, dst_path: str | Path | None = None, *, trust: tuple[str, ...] = ()) -> Model:
    """Return the model at a URI, after checking every byte of it.

    No code of the model's own is run, nor put on the path, unless ``trust`` names its generator.

    Args:
        model_uri: A path, ``file://``, ``s3://``, ``runs:/``, ``models:/`` (id, version, alias, ``latest``) or
            ``mlflow-artifacts:/``.
        dst_path: An existing folder to download to; a temporary one unless given.
        trust: Module paths of generators that may be imported although nobody installed them as generators, such as
            those that were saved with ``code_paths``.

    Raises:
        ArtifactError: if the model is damaged, incomplete, too new, not ours, or of a generator that is not known.
        MlflowException: if there is nothing at the URI.
    """
    local = private.download_artifact(
        artifact_uri=str(model_uri), output_path=None if dst_path is None else str(dst_path)
    )
    return native(Path(local), trust=trust)


def native(root: Path, *, trust: tuple[str, ...] = ()) -> Model:
    """Return the model of a local folder of MLflow's; see ``load_model``."""
    conf = _configuration(root)
    data = _within(root, conf.get("data"), "its model")
    if not main_file(data).is_file():
        raise ArtifactError(
            f"the model in {root} is incomplete: {data.name}/{MANIFEST} is missing; copy the whole folder"
        )
    if _sha256(main_file(data)) != conf.get("manifest_sha256"):
        raise ArtifactError(
            f"{MANIFEST} in {data} is not the one that {MLMODEL_FILE_NAME} was written with: it is damaged, or "
            "of another model; restore the whole folder"
        )
    if conf.get("generator") in trust and conf.get("code") is not None:
        _within(root, conf["code"], "its code")
        private.add_code_to_path(str(root), conf)
    model = Model.load(data, trust=trust)
    told: dict[str, object] = {"generator": model.manifest.generator, "format_version": FORMAT_VERSION}
    if main_file(data).name == MANIFEST:  # that of an encrypted model is sealed, and was read by `Model.load`
        told = json.loads(main_file(data).read_text(encoding="utf-8"))
    differing = [name for name in ("generator", "format_version") if conf.get(name) != told[name]]
    if differing:
        raise ArtifactError(
            f"{MLMODEL_FILE_NAME} in {root} and its {MANIFEST} differ in {differing}; restore the whole folder"
        )
    return model


def shipped_generators(root: Path) -> tuple[str, ...]:
    """Return the generator of a model if the model brings its code: what ``mlflow.pyfunc`` may import.

    ``mlflow.pyfunc.load_model`` has put that code on the path before our loader is called, and runs whatever the
    MLmodel names: who loads a pyfunc trusts its author.  The native loader does not.
    """
    conf = _configuration(root)
    generator, code = conf.get("generator"), conf.get("code")
    if not isinstance(generator, str) or code is None:
        return ()
    return (generator,) if _is_shipped(generator, _within(root, code, "its code")) else ()


def _configuration(root: Path) -> dict[str, Any]:
    """Return what the MLmodel says of this flavour, after checking that it is one that we wrote."""
    file = root / MLMODEL_FILE_NAME
    if not file.is_file():
        raise ArtifactError(f"there is no MLflow model at {root}: it has no {MLMODEL_FILE_NAME}")
    content = file.read_bytes()
    try:
        value = yaml.safe_load(content.decode())
    except Exception:  # noqa: BLE001 - of a date, a number or a nesting that is none, PyYAML lets any error through
        value = None
    damaged = ArtifactError(f"{MLMODEL_FILE_NAME} in {root} is damaged or cut short; restore the model")
    flavors = value.get("flavors") if isinstance(value, dict) else None
    if not isinstance(flavors, dict):
        raise damaged
    conf = flavors.get(FLAVOR_NAME)
    if not isinstance(conf, dict):
        raise ArtifactError(
            f"the model in {root} has no flavor '{FLAVOR_NAME}', but {sorted(map(str, flavors))}; load it with that"
        )
    if _LAST_ENTRY not in value:
        raise damaged
    served = flavors.get(pyfunc.FLAVOR_NAME, {})
    if not isinstance(served, dict):
        raise damaged
    loader = served.get(pyfunc.MAIN, _LOADER_MODULE)
    if loader != _LOADER_MODULE:
        raise ArtifactError(
            f"{MLMODEL_FILE_NAME} in {root} has a loader_module that is not '{_LOADER_MODULE}'; do not trust this model"
        )
    return conf


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _within(root: Path, name: object, what: str) -> Path:
    """Return a folder that the MLmodel names, refusing one outside of the model."""
    try:
        folder = (root / name).resolve() if isinstance(name, str) else root
    except (ValueError, OSError, RuntimeError):  # a NUL, links in a circle: no path at all
        folder = root
    if root.resolve() not in folder.parents:
        raise ArtifactError(
            f"{MLMODEL_FILE_NAME} in {root} names a folder outside of the model for {what}; do not trust this model"
        )
    return folder


__all__ = [
    "FLAVOR_NAME",
    "MODEL_TYPE",
    "get_default_conda_env",
    "get_default_pip_requirements",
    "load_model",
    "log_model",
    "save_model",
]
