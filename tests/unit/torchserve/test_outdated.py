"""Whether an artifact is still what its spec and its files would give."""

from dataclasses import replace

import pytest

from modelport.artifact import copied
from modelport.build import build_artifact, outdated_parts, plan_for
from modelport.plan import PlannedFile
from modelport_torchserve.backend import TorchServeBackend

OWN_HANDLER = {"torchserve": {"handler": "own.py"}}


@pytest.fixture
def plan_with(make_model, tmp_path):
    """Plan with an own handler; the model's file, the handler and the rest of the spec can be others."""

    def plan(*, weights="weights", handler="def handle(data, context): ...", backends=OWN_HANDLER, **spec):
        make_model()
        (tmp_path / "project/own.py").write_text(handler)
        model = make_model(backends=backends, **spec)
        (tmp_path / "project/model.pt").write_text(weights)
        model.files["model.pt"] = copied(tmp_path / "project/model.pt")
        return plan_for(TorchServeBackend(), model)

    return plan


@pytest.mark.parametrize(
    ("change", "outdated"),
    [
        ({}, []),
        ({"weights": "others"}, ["model.pt"]),
        ({"handler": "def handle(data, context): return data"}, ["own.py"]),
        ({"serving": {"workers": 2}, "labels": ["a", "b"]}, ["labels", "serving"]),
        ({"backends": {"torchserve": {"handler": "own.py", "threads": 1}}}, ["backends.torchserve"]),
        ({"verify": {"atol": 1.0}, "description": "better", "deploy": {"replicas": 3}}, []),
        ({"backends": {**OWN_HANDLER, "bentoml": {"threads": 1}}}, []),
    ],
)
def test_what_answers_depend_on_makes_an_artifact_outdated(plan_with, tmp_path, change, outdated):
    artifact = build_artifact(TorchServeBackend(), plan_with(), tmp_path / "dist")
    assert outdated_parts(artifact, plan_with(**change)) == outdated


def test_what_was_made_from_the_model_is_none_of_the_files_that_went_in(plan_with, tmp_path):
    plan = plan_with()
    (tmp_path / "made.onnx").write_text("graph")
    made = PlannedFile(path="made.onnx", content=copied(tmp_path / "made.onnx", "torchscript → onnx"))
    artifact = build_artifact(TorchServeBackend(), replace(plan, files=(*plan.files, made)), tmp_path / "dist")
    assert list(artifact.record["model"]["inputs"]) == ["model.pt", "own.py"]
