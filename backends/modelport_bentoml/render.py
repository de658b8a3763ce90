"""The texts of a Bento project: ``service.py``, ``bentofile.yaml``, ``requirements.txt`` and ``README.md``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import yaml

from modelport.python_image import base_image
from modelport.spec.schema import ModelSpec
from modelport_bentoml.options import BentoMLOptions
from modelport_bentoml.tag import BentoTag

MODEL_FOLDER = "model"
"""Folder of a project in which ``modelport.json``, the model and what belongs to it lie."""
WEIGHTS = "model.weights"
"""Folder in it with the model's own files; with the dot in its name it can be no package of Python's."""
TEMPLATE = "Dockerfile.template"

_SERVICE = '''\
"""The BentoML service of {tag}. ``bentoml serve`` and ``bentoml build`` take the folder that it lies in."""

from __future__ import annotations

from pathlib import Path

import bentoml
{imports}

FOLDER = Path(__file__).parent / "{folder}"
DESCRIPTION = ModelDescription.read(FOLDER)
SERVED = DESCRIPTION.served if DESCRIPTION.served_known else None
REQUEST = request_body(SERVED and SERVED.inputs, DESCRIPTION.max_request_bytes)
ANSWER = answer_body(SERVED and SERVED.outputs)


@bentoml.asgi_app(metadata_app(DESCRIPTION))
@bentoml.service(name={name}, service_class=DescribedService, workers={workers}, traffic={{"timeout": {timeout}}})
class ModelService:
    {docstring}

    description = DESCRIPTION

    def __init__(self) -> None:
        with starting():
            self.predictor = Predictor(FOLDER{batching})

    @bentoml.api(route="/predict", input_spec=REQUEST, output_spec=ANSWER)
    async def predict(self, body: bytes | None, content_type: str | None, accept: str | None) -> Response:
        """Answer one request: JSON or npz, in and out."""
        return await self.predictor.answer(body, content_type, accept)
{admission}'''

_README = """\
# {name} {version}

{description}

A BentoML project, written by modelport from a model spec. Nothing of modelport needs to be installed to use it.

```bash
pip install -r requirements.txt "{bentoml}"
bentoml serve .                         # http://127.0.0.1:3000, documents at /
bentoml build --version {tag_version}
TMPDIR=$PWD bentoml containerize {tag}  # BentoML reads templates of Dockerfiles below the working directory only
```

`POST /predict` takes a JSON object with one entry an input, or a numpy `.npz` archive (`application/x-npz`), and
gives one entry an output, as JSON, or as npz where `Accept` says so. `GET /metadata` tells what the model is.
`/readyz` answers 200 once the model has answered its samples.
{tensors}"""


def render_service(spec: ModelSpec, options: BentoMLOptions, tag: BentoTag) -> str:
    """Write ``service.py``."""
    batching = spec.serving.batching
    helpers = ["DescribedService", "metadata_app", "starting"]
    imports = [
        "from modelport_bento.bodies import answer_body, request_body",
        "from modelport_bento.predictor import Predictor",
        "from modelport_runtime.description import ModelDescription",
        "from starlette.responses import Response",
    ]
    if batching is not None:
        imports.insert(0, "from modelport_bento.batching import Batching")
    if options.max_concurrency is not None:
        helpers.insert(0, "Admission")
    imports.insert(-2, f"from modelport_bento.service import {', '.join(helpers)}")
    return _SERVICE.format(
        tag=tag,
        imports="\n".join(imports),
        folder=MODEL_FOLDER,
        name=json.dumps(
            tag.name.replace(".", "_")
        ),  # BentoML looks settings up by this name, in which a dot means a level
        workers=spec.serving.workers,
        timeout=spec.serving.timeout_s,
        docstring=json.dumps(spec.description or f"{spec.name} {spec.version}"),  # a string of Python, too
        batching="" if batching is None else f", batching=Batching({_keywords(batching.model_dump())})",
        admission=(
            ""
            if options.max_concurrency is None
            else f"\n\nModelService.add_asgi_middleware(Admission, limit={options.max_concurrency})\n"
        ),
    )


def render_bentofile(spec: ModelSpec, options: BentoMLOptions, tag: BentoTag) -> str:
    """Write ``bentofile.yaml``."""
    content: dict[str, Any] = {
        "service": "service:ModelService",
        "name": tag.name,
        "labels": dict(sorted(options.labels.items())),
        "include": ["*"],
        # Requirements are pinned where the spec pins them; locking would need uv and a network.
        "python": {"requirements_txt": "./requirements.txt", "lock_packages": False},
        # The template says all; named here, BentoML does not look for a base of its own.
        "docker": {
            "base_image": base_image(options.image, spec.environment.python),
            "dockerfile_template": f"./{TEMPLATE}",
        },
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def render_requirements(requirements: Sequence[str]) -> str:
    """Write ``requirements.txt``; BentoML adds itself when it builds."""
    return "".join(f"{line}\n" for line in requirements)


def render_readme(spec: ModelSpec, tag: BentoTag, tensors: Sequence[str], bentoml: str) -> str:
    """Write ``README.md``.

    Args:
        spec: The spec.
        tag: The Bento's tag.
        tensors: A line for every input and output; empty where they are not known.
        bentoml: BentoML's own requirement.
    """
    return _README.format(
        name=spec.name,
        version=spec.version,
        description=spec.description or "A model behind one HTTP interface.",
        bentoml=bentoml,
        tag=tag,
        tag_version=tag.version,
        tensors="".join(f"\n- {line}" for line in tensors) + ("\n" if tensors else ""),
    )


def _keywords(values: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in values.items())
