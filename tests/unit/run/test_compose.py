"""What Compose is given, and how it is asked: a stand-in for its program records each call."""

import copy
import json
import stat
import sys

import pytest
import yaml

from modelport.errors import MissingTool, ServerFailed
from modelport.plan import Generated, PlannedFile, Port, Readiness, ServicePlan
from modelport.run.compose import ComposeRollout, find_compose, plan_project
from modelport.run.image_labels import Expected
from modelport.run.rollout import run_rollout

SERVICE = ServicePlan(
    backend="toy",
    server="toy server",
    command=(),
    ports=(Port(name="rest", number=8080),),
    readiness=Readiness(port="rest", path="/"),
    endpoints={"rest": "http://127.0.0.1:8080"},
    image="digits:1",
)
CONTENT = {
    "name": "digits",
    "services": {
        "digits-toy-weights": {"image": "digits:1-weights"},
        "digits-toy": {
            "image": "digits:1",
            "environment": {"API_TOKEN": "very-secret"},
            "ports": ["127.0.0.1:8080:8080", "127.0.0.1:8082:8082"],
        },
    },
    "networks": {"serving": {}},
    "configs": {"a": {"file": "./config/toy/a.conf"}},
}
STAND_IN = """#!{python}
import json, pathlib, sys
folder = pathlib.Path({folder!r})
arguments = sys.argv[1:]
with (folder / "calls").open("a") as calls:
    calls.write(json.dumps(arguments) + "\\n")
answers = json.loads((folder / "answers.json").read_text())
for word in ("version", "ps", "pull", "down", "logs", "up"):
    if word in arguments:
        answer = answers.get(word + (" --wait" if "--wait" in arguments else ""), [0, ""])
        print(answer[1])
        sys.exit(answer[0])
"""


def files(content=None, config="x = 1"):
    text = yaml.safe_dump(content or CONTENT)
    return (
        PlannedFile(path="compose.yaml", content=Generated(data=text.encode(), origin="the spec")),
        PlannedFile(path="config/toy/a.conf", content=Generated(data=config.encode(), origin="the spec")),
    )


class Compose:
    """A program that answers as it is told to."""

    def __init__(self, folder):
        self.folder = folder
        self.program = folder / "docker-compose"
        self.program.write_text(STAND_IN.format(python=sys.executable, folder=str(folder)), encoding="utf-8")
        self.program.chmod(self.program.stat().st_mode | stat.S_IXUSR)
        self.answer()

    def answer(self, **answers):
        (self.folder / "answers.json").write_text(
            json.dumps({key.replace("_", " --"): value for key, value in answers.items()}), encoding="utf-8"
        )

    def calls(self):
        lines = (self.folder / "calls").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def rollout(self, *, answers=lambda: True, config="x = 1", ports=None):
        return ComposeRollout(
            compose=(str(self.program),),
            project=plan_project(files(config=config), ports or {8080: 0, 8082: 0}, self.folder / "dist"),
            service=SERVICE,
            urls={"rest": "http://127.0.0.1:8080"},
            answers=answers,
            image_hint="Build it with: modelport containerize",
            poll_s=0.01,
        )


@pytest.fixture
def compose(tmp_path):
    return Compose(tmp_path)


def run(rollout, timeout_s=60.0):
    return run_rollout(rollout, wait=True, timeout_s=timeout_s, ask=lambda urls: "yes", note=lambda text: None)


def container(file, image="sha256:" + "1" * 64, **more):
    labels = (
        f"com.docker.compose.image={image},com.docker.compose.project.config_files={file},"
        "com.docker.compose.project=digits,com.docker.compose.service=digits-toy"
    )
    published = [{"PublishedPort": 0, "TargetPort": 8080}]
    return json.dumps({"Service": "digits-toy", "Image": "digits:1", "Labels": labels, "Publishers": published, **more})


def test_ports_of_this_machine_can_be_chosen(tmp_path):
    project = plan_project(files(), {8080: 18080}, tmp_path)
    assert project.service == "digits-toy"
    assert project.content["services"]["digits-toy"]["ports"] == ["127.0.0.1:18080:8080", "127.0.0.1:8082:8082"]
    assert project.host_ports == (18080, 8082)


def test_every_content_has_a_folder_of_its_own(tmp_path):
    folders = {
        plan_project(files(config=config), ports, tmp_path).folder
        for config in ("x = 1", "x = 2")
        for ports in ({}, {8080: 1})
    }
    assert len(folders) == 4
    assert plan_project(files(), {}, tmp_path).folder == plan_project(files(), {}, tmp_path).folder


def test_a_first_deployment(compose):
    rollout = compose.rollout()
    outcome = run(rollout)
    folder = rollout.project.folder
    assert outcome.applied == (f"service digits-toy: made from {folder / 'compose.yaml'}",)
    assert (folder / "config/toy/a.conf").read_text(encoding="utf-8") == "x = 1"
    words = [
        [word for word in call if word in {"ps", "pull", "up", "--wait", "--no-recreate"}] for call in compose.calls()
    ]
    assert words == [["ps"], ["pull"], ["up"], ["up", "--no-recreate", "--wait"]]


def test_folders_of_earlier_ones_go_when_the_new_one_answers(compose):
    first = compose.rollout(config="x = 1")
    run(first)
    compose.answer(ps=[0, container(first.project.folder / "compose.yaml")])
    second = compose.rollout(config="x = 2")
    run(second)
    assert second.project.folder.is_dir()
    assert not first.project.folder.exists()


def test_a_failed_one_is_removed_and_the_earlier_made_again_from_its_image(compose):
    first = compose.rollout(config="x = 1")
    run(first)
    image = "sha256:" + "2" * 64
    file = first.project.folder / "compose.yaml"
    compose.answer(
        ps=[0, container(file, image)], up_wait=[1, "container digits-toy is unhealthy"], logs=[0, "no model.pt"]
    )
    second = compose.rollout(config="x = 2")
    with pytest.raises(ServerFailed) as caught:
        run(second)
    message = str(caught.value)
    assert "container digits-toy is unhealthy" in message
    assert "Its last lines:\n    no model.pt" in message
    assert f"Rolled back:\n    service digits-toy: made again from {file}" in message
    pinned = json.loads((first.project.folder / "image.yaml").read_text(encoding="utf-8"))
    assert pinned == {"services": {"digits-toy": {"image": image, "pull_policy": "never"}}}
    assert compose.calls()[-1][:4] == ["--file", str(file), "--file", str(first.project.folder / "image.yaml")]
    assert not second.project.folder.exists()


class Killed(BaseException):
    """Ends a deployment as SIGKILL does: nothing is tidied up."""


def kill(rollout):
    def note(text):
        if "made from" in text:
            raise Killed

    with pytest.raises(Killed):
        run_rollout(rollout, wait=True, timeout_s=60, ask=lambda urls: "yes", note=note)


def test_one_that_was_killed_is_taken_back_by_the_next_attempt(compose):
    first = compose.rollout(config="x = 1")
    run(first)
    file = first.project.folder / "compose.yaml"
    image = "sha256:" + "2" * 64
    compose.answer(ps=[0, container(file, image)])
    kill(compose.rollout(config="x = 2"))
    second = compose.rollout(config="x = 2")
    compose.answer(ps=[0, container(second.project.folder / "compose.yaml")], up_wait=[1, "unhealthy"])
    with pytest.raises(ServerFailed, match=f"service digits-toy: made again from {file}"):
        run(second)
    pinned = json.loads((first.project.folder / "image.yaml").read_text(encoding="utf-8"))
    assert pinned["services"]["digits-toy"]["image"] == image
    # It answers at last, and there is nothing to go back to any more.
    compose.answer(ps=[0, container(second.project.folder / "compose.yaml")])
    run(second)
    assert not (second.project.folder / "before.json").exists()
    assert not first.project.folder.exists()


def test_a_first_one_that_was_killed_is_removed_by_the_next_attempt(compose):
    kill(compose.rollout())
    again = compose.rollout()
    compose.answer(ps=[0, container(again.project.folder / "compose.yaml")], up_wait=[1, "unhealthy"])
    with pytest.raises(ServerFailed, match="service digits-toy: removed"):
        run(again)


@pytest.mark.parametrize(("health", "back"), [("starting", "x = 1"), ("unhealthy", "x = 1"), ("healthy", "x = 2")])
def test_what_a_killed_one_left_running_is_gone_back_to_only_where_it_is_healthy(compose, health, back):
    run(compose.rollout(config="x = 1"))
    places = {config: compose.rollout(config=config).project.folder / "compose.yaml" for config in ("x = 1", "x = 2")}
    compose.answer(ps=[0, container(places["x = 1"])])
    kill(compose.rollout(config="x = 2"))
    compose.answer(ps=[0, container(places["x = 2"], Health=health)], up_wait=[1, "unhealthy"])
    with pytest.raises(ServerFailed, match=f"service digits-toy: made again from {places[back]}"):
        run(compose.rollout(config="x = 3"))


def test_an_image_of_another_version_is_taken_back(compose):
    first, second = compose.rollout(config="x = 1"), compose.rollout(config="x = 2")
    run(first)
    said = container(first.project.folder / "compose.yaml")
    made = (
        "io.modelport.artifact.sha256=abc,org.opencontainers.image.description=a, b,org.opencontainers.image.version=2,"
    )
    compose.answer(ps=[0, said.replace("com.docker.compose.image", f"{made}com.docker.compose.image")])
    second.expected = Expected(artifact="abc", version="1")
    with pytest.raises(ServerFailed, match=r"digits:1 holds version 2 of the model, and the spec is of 1\. Build it"):
        run(second)
    second = compose.rollout(config="x = 2")
    second.expected = Expected(artifact="def", version="2")
    notes = []
    run_rollout(second, wait=True, timeout_s=5, ask=lambda urls: "yes", note=notes.append)
    assert any("was made from another artifact (abc) than the spec gives now (def)" in note for note in notes)


def test_a_note_that_cannot_be_read_changes_nothing(compose):
    kill(compose.rollout())
    again = compose.rollout()
    again.project.folder.joinpath("before.json").write_text("{", encoding="utf-8")
    compose.answer(ps=[0, container(again.project.folder / "compose.yaml")])
    with pytest.raises(ServerFailed, match=r"before\.json: says no more what ran before"):
        run(again)


def test_two_at_once(compose):
    first, second = compose.rollout(config="x = 1"), compose.rollout(config="x = 2")
    with first.turn(), pytest.raises(ServerFailed, match=r"another deployment is under way \(process \d+\)"):
        run(second)
    run(second)


def test_values_that_yaml_readers_take_for_numbers_stay_text(tmp_path):
    content = copy.deepcopy(CONTENT)
    content["services"]["digits-toy"]["labels"] = {"modelport.io/version": "1e3"}
    written = plan_project(files(content), {}, tmp_path).files[-1]
    assert b'"modelport.io/version": "1e3"' in written.content.data


def test_a_first_one_that_fails_is_removed(compose):
    compose.answer(up_wait=[1, "unhealthy"])
    rollout = compose.rollout()
    with pytest.raises(ServerFailed, match="service digits-toy: removed"):
        run(rollout)
    assert "down" in compose.calls()[-1]
    assert not rollout.project.folder.exists()


def test_an_earlier_file_that_is_gone_is_said(compose, tmp_path):
    compose.answer(ps=[0, container(tmp_path / "gone" / "compose.yaml")], up_wait=[1, "unhealthy"])
    with pytest.raises(ServerFailed, match=r"NOT rolled back:\n.*the file that it was made from before is gone"):
        run(compose.rollout())


def test_healthy_and_mute_is_not_ready(compose):
    with pytest.raises(ServerFailed, match=r"it is healthy, and does not answer at http://127\.0\.0\.1:8080"):
        run(compose.rollout(answers=lambda: False), timeout_s=0.1)


def test_an_image_that_cannot_be_pulled_changes_nothing(compose):
    compose.answer(pull=[1, "manifest unknown"])
    rollout = compose.rollout()
    with pytest.raises(ServerFailed) as caught:
        run(rollout)
    assert "digits:1 is not to be had. Build it with: modelport containerize" in str(caught.value)
    assert "manifest unknown" in str(caught.value)
    assert "Nothing was changed in the Compose project digits" in str(caught.value)
    assert not rollout.project.folder.exists()


@pytest.mark.parametrize(
    "said",
    [
        "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?",
        "failed to connect to the docker API at unix:///x; check if the path is correct and if the daemon is running",
    ],
)
def test_an_engine_that_does_not_answer(compose, said):
    compose.answer(ps=[1, said])
    with pytest.raises(ServerFailed, match=r"point \$DOCKER_HOST to an engine that runs, or use --target podman"):
        run(compose.rollout())


def test_the_difference_leaves_other_services_and_secrets_out(compose):
    first = compose.rollout(config="x = 1")
    run(first)
    kept = yaml.safe_load((first.project.folder / "compose.yaml").read_text(encoding="utf-8"))
    kept["services"]["digits-other"] = {"image": "other"}
    (first.project.folder / "compose.yaml").write_text(yaml.safe_dump(kept), encoding="utf-8")
    compose.answer(ps=[0, container(first.project.folder / "compose.yaml")])
    changes = {change.name: change.verb for change in compose.rollout(config="x = 2").changes()}
    assert changes == {"compose.yaml": "keep", "config/toy/a.conf": "change"}


def test_a_file_of_somebodys_own_is_compared_without_its_neighbours(compose, tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "model.bin").write_bytes(b"\xff\xfe")
    (tmp_path / "own" / "compose.yaml").write_text(yaml.safe_dump(CONTENT), encoding="utf-8")
    compose.answer(ps=[0, container(tmp_path / "own" / "compose.yaml")])
    changes = {change.name: change.verb for change in compose.rollout(ports={1: 1}).changes()}
    assert changes == {"compose.yaml": "keep", "config/toy/a.conf": "create"}


def test_files_that_were_changed_are_written_anew(compose):
    first = compose.rollout()
    run(first)
    (first.project.folder / "config/toy/a.conf").write_text("broken", encoding="utf-8")
    run(compose.rollout())
    assert (first.project.folder / "config/toy/a.conf").read_text(encoding="utf-8") == "x = 1"


def test_compose_is_found_as_a_program_of_its_own(compose, monkeypatch):
    compose.answer(version=[0, "5.6.1"])
    monkeypatch.setenv("PATH", str(compose.folder))
    assert find_compose() == (str(compose.program),)


@pytest.mark.parametrize("answer", [[0, "1.29.2"], [1, "unknown command"]])
def test_compose_that_is_too_old_or_broken(compose, monkeypatch, answer):
    compose.answer(version=answer)
    monkeypatch.setenv("PATH", str(compose.folder))
    with pytest.raises(MissingTool, match="Docker Compose is not installed here"):
        find_compose()
