"""From a spec to a model: files and digests, the format, the signature that spec and model agree on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from modelport.artifact import copied
from modelport.codefiles import CodeFiles, collect_code, collect_transform
from modelport.environment import plan_requirements
from modelport.errors import SpecError
from modelport.frameworks import detect_format, framework_of, probe
from modelport.frameworks.learning import learn_outputs
from modelport.frameworks.merging import fill_from_samples, merge_inputs, merge_outputs, render_missing
from modelport.frameworks.probing import Probe
from modelport.model import Model
from modelport.plan import Copied
from modelport.samples import Samples, load_samples
from modelport.sources import check_present, locate_source
from modelport.spec.schema import ModelSpec, TensorEntry, TransformSection
from modelport.steps import plan_postprocess, plan_preprocess
from modelport_runtime.signature import Signature, TensorSpec
from modelport_runtime.steps import Step


def resolve_model(spec: ModelSpec, root: Path) -> Model:
    """Resolve a spec: everything that a backend plans from.

    The model is loaded only where it cannot be asked otherwise (scikit-learn), or where its outputs are declared
    nowhere and samples are there to learn them from.

    Args:
        spec: The spec.
        root: Folder of the spec file; relative paths start there.

    Raises:
        SpecError: A file is missing, broken or not what the spec says; the message says what mends it.
        MissingTool: What reads the model is not installed.
    """
    root = root.resolve()
    source = locate_source(spec.model.source, root)
    kind = detect_format(source, spec.model.framework)
    files = collect_files(source, kind)
    check_digest(spec.model.sha256, source, files)
    probed = probe(kind, source, entrypoint=spec.model.entrypoint, trust=spec.model.trust, root=root)
    entrypoint = _collect_entrypoint(spec, root, kind)
    transform = _collect_transform(spec, root)
    packages = {p for code in (entrypoint, transform) if code for p in code.packages} | set(probed.packages)
    samples = _locate_samples(spec, root)
    inputs = _merge_inputs(spec, probed, samples)
    preprocess, served_inputs = (
        plan_preprocess(spec.preprocess, inputs, spec.labels) if spec.preprocess else ((), inputs)
    )
    model = Model(
        spec=spec,
        root=root,
        format=kind,
        source=source,
        files=files,
        code=_merge_code(entrypoint, transform),
        transform=copied(transform.main) if transform else None,
        preprocess=preprocess,
        signature=Signature(inputs=inputs, outputs=()),
        served=Signature(inputs=served_inputs, outputs=()),
        served_known=transform is None,
        samples=copied(samples) if samples else None,
        requirements=plan_requirements(
            kind,
            spec.environment.requirements,
            packages,
            frames=bool(probed.columns) and framework_of(kind) == "sklearn",
            device=spec.environment.device,
        ),
    )
    model = _with_outputs(model, probed)
    return _with_served(model, transform)


def collect_files(source: Path, kind: str) -> dict[str, Copied]:
    """Digest a model's files, by path relative to the artifact's model folder, sorted."""
    if source.is_dir():
        paths = {path.relative_to(source).as_posix(): path for path in source.rglob("*") if path.is_file()}
        return {name: copied(paths[name]) for name in sorted(paths)}
    names = [source.name]
    if kind == "onnx":
        from modelport.frameworks.onnx import external_files

        names += external_files(source)
    return {name: copied(source.parent / name) for name in names}


def digest_source(source: Path, files: Mapping[str, Copied]) -> str:
    """Give the digest that ``model.sha256`` is compared with.

    A file's own SHA-256; a folder's is that of the lines ``<sha256>  <path>`` of all its files, sorted by path:
    what ``cd FOLDER && find * -type f | LC_ALL=C sort | xargs sha256sum | sha256sum`` prints.
    """
    if source.is_file():
        return files[source.name].sha256
    ordered = sorted(files.items(), key=lambda item: item[0].encode())
    text = "".join(f"{file.sha256}  {name}\n" for name, file in ordered)
    return hashlib.sha256(text.encode()).hexdigest()


def check_digest(wanted: str | None, source: Path, files: Mapping[str, Copied]) -> None:
    """Check ``model.sha256``.

    Raises:
        SpecError: The file is another one.
    """
    if wanted is None:
        return
    found = digest_source(source, files)
    if found != wanted:
        raise SpecError(
            f"model.sha256: {source} has {found}, the spec says {wanted}; "
            "get the right file, or write the new digest if the change is meant"
        )


def _collect_entrypoint(spec: ModelSpec, root: Path, kind: str) -> CodeFiles | None:
    if spec.model.entrypoint is None:
        return None
    if kind != "state_dict":
        raise SpecError(f"model.entrypoint: {spec.model.source} needs none (it is no state dict); remove the key")
    return collect_code(spec.model.entrypoint, root, "model.entrypoint")


def _collect_transform(spec: ModelSpec, root: Path) -> CodeFiles | None:
    code = collect_transform(spec.transform, root)
    methods = None if code is None else code.methods
    if code is not None and methods is not None and not methods & {"preprocess", "postprocess"}:
        raise SpecError(f"transform: {code.reference}: has neither preprocess nor postprocess; it needs one of them")
    return code


def _merge_code(entrypoint: CodeFiles | None, transform: CodeFiles | None) -> dict[str, Copied]:
    paths: dict[str, Path] = dict(entrypoint.files) if entrypoint else {}
    if transform is not None:
        for name, path in transform.files.items():
            if path != transform.main and paths.setdefault(name, path) != path:
                raise SpecError(f"transform: {path} and {paths[name]} would have the same name; rename one")
        taken = paths.pop(transform.main.name, transform.main)
        if taken != transform.main:
            raise SpecError(f"transform: {transform.main} and {taken} would have the same name; rename one")
    return {name: copied(paths[name]) for name in sorted(paths)}


def _locate_samples(spec: ModelSpec, root: Path) -> Path | None:
    if spec.samples is None:
        return None
    path = (root / spec.samples).resolve()
    check_present(path, "samples")
    return path


def _tensors(entries: tuple[TensorEntry, ...] | None) -> tuple[TensorSpec, ...]:
    return tuple(entry.tensor() for entry in entries or ())


def _merge_inputs(spec: ModelSpec, probed: Probe, samples: Path | None) -> tuple[TensorSpec, ...]:
    declared = _tensors(spec.signature.inputs if spec.signature else None)
    merged = merge_inputs(declared, probed)
    if merged is not None:
        return merged
    outputs = _tensors(spec.signature.outputs if spec.signature else None) or probed.outputs
    plain = spec.transform is None and spec.preprocess is None  # samples hold what the model itself takes
    inputs = fill_from_samples(probed.inputs, samples) if samples and plain else probed.inputs
    raise SpecError(f"signature: {spec.model.source} does not tell its inputs; {render_missing(inputs, outputs)}")


def _with_outputs(model: Model, probed: Probe) -> Model:
    spec = model.spec
    declared = _tensors(spec.signature.outputs if spec.signature else None)
    merged = merge_outputs(declared, probed)
    if merged is None and model.format == "keras":
        merged = merge_outputs(declared, probe(model.format, model.source, load=True))
    if merged is None and model.samples is not None:
        merged = learn_outputs(model)
    if merged is None:
        raise SpecError(
            f"signature: {spec.model.source} does not tell its outputs, and there are no samples to learn them from; "
            + render_missing(model.signature.inputs, probed.outputs)
        )
    return replace(model, signature=replace(model.signature, outputs=merged))


def _with_served(model: Model, transform: CodeFiles | None) -> Model:
    """Say what requests hold and answers give, and hold the samples against it."""
    section = model.spec.transform
    served = replace(model.served, outputs=model.signature.outputs)
    postprocess: tuple[Step, ...] = ()
    if model.spec.postprocess is not None:
        postprocess, outputs = plan_postprocess(model.spec.postprocess, served.outputs, model.spec.labels)
        served = replace(served, outputs=outputs)
    if isinstance(section, TransformSection):
        served = Signature(
            inputs=_tensors(section.inputs) or served.inputs, outputs=_tensors(section.outputs) or served.outputs
        )
    model = replace(model, postprocess=postprocess, served=served, served_known=True)
    if transform is None or isinstance(section, TransformSection):
        if model.samples is not None:
            _check_samples(model.samples.path, served)
        return model
    return replace(model, served_known=_samples_show(model, transform))


def _check_samples(path: Path, served: Signature) -> None:
    given = load_samples(path, served).inputs
    wanted = [tensor.name for tensor in served.inputs]
    if given.keys() != set(wanted):
        raise SpecError(
            f"samples: {path}: holds {', '.join(map(repr, given))}; a request holds {', '.join(map(repr, wanted))}"
        )


def _samples_show(model: Model, transform: CodeFiles) -> bool:
    """Whether the samples show that a transform which declares nothing takes and gives what the model does."""
    methods = transform.methods
    changes_inputs = methods is None or "preprocess" in methods
    changes_outputs = methods is None or "postprocess" in methods
    samples: Samples | None = None
    if model.samples is not None:
        try:
            samples = load_samples(model.samples.path, model.served)
        except SpecError:
            if not changes_inputs and not changes_outputs:
                raise
    same_inputs = samples is not None and samples.inputs.keys() == {t.name for t in model.served.inputs}
    same_outputs = samples is not None and samples.expected.keys() == {t.name for t in model.served.outputs}
    return (same_inputs or not changes_inputs) and (same_outputs or not changes_outputs)
