"""How TorchServe is started here: its own launcher, a Java runtime, a folder of its own for all that it writes."""

from __future__ import annotations

from urllib.parse import quote

from modelport.artifact import Artifact
from modelport.backend import ServeSettings
from modelport.errors import SpecError
from modelport.plan import Generated, PlannedFile, Port, Readiness, ServicePlan
from modelport.run.tool import find_program
from modelport.spec.schema import ModelSpec

from .config import MODEL_STORE, Binding, render_config
from .java import INSTALL, Java
from .options import TorchServeOptions, is_loopback

PROTOCOLS = {"rest": "http", "management": "http", "metrics": "http", "grpc": "grpc", "grpc_management": "grpc"}
CONFIG = "config.properties"
LOAD_FAILED = "modelport: the model did not load"  # the handler's words; TorchServe itself would try for ever
GRACE_S = 20.0  # ending takes the frontend three to five seconds on an idle machine


def plan_service(artifact: Artifact, options: TorchServeOptions, settings: ServeSettings, java: Java) -> ServicePlan:
    """Describe the service: a configuration of its own with the chosen ports, everything else as in the artifact.

    On a loopback address it runs without tokens, whatever the spec asks for elsewhere.

    Raises:
        SpecError: The address cannot be bound, or asks for a choice that the spec does not make.
        MissingTool: TorchServe is not installed here.
    """
    spec = ModelSpec.model_validate(artifact.record["spec"])
    _check_address(settings.host, options)
    store = artifact.path / MODEL_STORE
    binding = Binding(address=settings.host, ports=settings.ports, token_authorization=False, model_store=str(store))
    config = render_config(spec, options, binding).encode()
    open_to = "" if not options.token_authorization else ", without tokens on this address"
    program = find_program("torchserve", install=INSTALL)
    arguments = ("--ts-config", f"{{state}}/{CONFIG}", "--model-store", str(store))
    return ServicePlan(
        backend="torchserve",
        server=f"torchserve (Java {java.version} from {java.origin}{open_to})",
        command=(program, "--start", "--foreground", "--ncs", *arguments),
        environment={
            "JAVA_HOME": str(java.home),
            # PID file and archives go to TMPDIR; the frontend's sockets to TEMP, which Java's own tmpdir follows.
            "TMPDIR": "{state}",
            "TEMP": "{state}",
            "LOG_LOCATION": "{state}/logs",
            "METRICS_LOCATION": "{state}/logs",
            # The inherited ones would win over the configuration, or over what rides in the archive.
            "TS_CONFIG_FILE": None,
            "TS_ALLOWED_URLS": None,
            "TS_MODEL_SERVER_HOME": None,
            "TS_OPEN_INFERENCE_PROTOCOL": None,
            "LOCAL_RANK": None,
            "PYTHONPATH": None,
        },
        files=(PlannedFile(path=CONFIG, content=Generated(data=config, origin="the spec")),),
        ports=tuple(
            Port(name=name, number=settings.ports[name], protocol=protocol) for name, protocol in PROTOCOLS.items()
        ),
        readiness=Readiness(port="management", path=readiness_path(spec)),
        endpoints=_endpoints(spec, settings),
        fatal=(LOAD_FAILED,),
        start_timeout_s=float(options.startup_timeout_s),
        grace_s=GRACE_S,
    )


def readiness_path(spec: ModelSpec) -> str:
    """Give the path that answers 200 only when a worker has loaded the model and answers itself.

    Without ``customized`` TorchServe answers from its own books, with 200 also for a model that failed to load.
    """
    return f"/models/{spec.name}/{quote(spec.version, safe='')}?customized=true"


def _check_address(host: str, options: TorchServeOptions) -> None:
    if ":" in host:
        raise SpecError(f"host {host}: TorchServe binds IPv4 addresses and host names only")
    if is_loopback(host):
        return
    if options.token_authorization is None:
        raise SpecError(
            f"backends.torchserve.token_authorization: must be said to serve on {host}, which others can reach; "
            "false lets everybody in"
        )
    if options.token_authorization:
        raise SpecError(
            f"backends.torchserve.token_authorization: is true, and modelport's runner has no token to see whether "
            f"a server on {host} is ready. Serve on 127.0.0.1, or start the artifact with torchserve itself: "
            f"torchserve --start --foreground --ncs --ts-config {CONFIG} --model-store {MODEL_STORE}"
        )


def _endpoints(spec: ModelSpec, settings: ServeSettings) -> dict[str, str]:
    # 0.0.0.0 is where a server listens, not where a client can knock.
    host = "127.0.0.1" if settings.host == "0.0.0.0" else settings.host  # noqa: S104  # compared, not bound
    path = f"{spec.name}/{quote(spec.version, safe='')}"
    return {
        "rest": f"http://{host}:{settings.ports['rest']}/predictions/{path}",
        "grpc": f"grpc://{host}:{settings.ports['grpc']}/{path}",
    }
