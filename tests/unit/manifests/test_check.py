"""The check of manifests: each finding from a minimal bad file, none from what modelport writes itself."""

import ast
import re
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from modelport.errors import SpecError
from modelport_manifests.check import check_folder
from modelport_manifests.check.fields import check_fields
from modelport_manifests.check.objects import Object
from modelport_manifests.check.quantity import read_quantity, read_seconds, read_size
from modelport_manifests.check.reading import Table, read_yaml
from modelport_manifests.check.servers import PROPERTIES

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden" / "manifests"

GOOD = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: digits
  annotations:
    modelport.io/model-bytes: "400000000"
spec:
  selector:
    matchLabels:
      app: digits
  template:
    metadata:
      labels:
        app: digits
    spec:
      terminationGracePeriodSeconds: 60
      serviceAccountName: digits
      containers:
      - name: server
        image: registry.example.com/torchserve-digits:1.2.0
        ports:
        - name: rest
          containerPort: 8080
        - name: management
          containerPort: 8081
        env:
        - name: LEVEL
          value: "1"
        envFrom:
        - configMapRef:
            name: settings
        resources:
          requests:
            cpu: 500m
            memory: 1Gi
          limits:
            memory: 1Gi
        securityContext:
          readOnlyRootFilesystem: true
          runAsUser: 10001
          runAsNonRoot: true
        readinessProbe:
          httpGet:
            path: /models/digits
            port: management
          timeoutSeconds: 4
          periodSeconds: 5
        livenessProbe:
          tcpSocket:
            port: 8080
          failureThreshold: 12
        lifecycle:
          preStop:
            exec:
              command: [sleep, "10"]
        volumeMounts:
        - name: config
          mountPath: /etc/modelport
        - name: scratch
          mountPath: /tmp
      volumes:
      - name: config
        configMap:
          name: settings
      - name: scratch
        emptyDir: {}
---
apiVersion: v1
kind: Service
metadata:
  name: digits
  labels:
    app: digits
spec:
  selector:
    app: digits
  ports:
  - name: rest
    port: 80
    targetPort: rest
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: digits
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
data:
  config.properties: |
    inference_address=http://0.0.0.0:8080
    management_address=http://0.0.0.0:8081
    default_response_timeout=30
    load_models=digits=digits.mar
    models={"digits":{"1.2.0":{"batchSize":8,"maxBatchDelay":5}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: digits
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: digits
  minReplicas: 2
  maxReplicas: 5
  metrics:
  - type: Resource
    resource:
      name: cpu
      target:
        type: Utilization
        averageUtilization: 70
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: digits
spec:
  minAvailable: 1
  selector:
    matchLabels:
      app: digits
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: digits
spec:
  podSelector:
    matchLabels:
      app: digits
  ingress:
  - ports:
    - port: rest
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: digits
spec:
  selector:
    matchLabels:
      app: digits
  endpoints:
  - port: rest
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: digits
spec:
  rules:
  - host: digits.example.com
    http:
      paths:
      - path: /
        pathType: Prefix
        backend:
          service:
            name: digits
            port:
              name: rest
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: digits
spec:
  rules:
  - backendRefs:
    - name: digits
      port: 80
"""

KSERVE = """\
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: digits
  annotations:
    serving.kserve.io/deploymentMode: Standard
    serving.kserve.io/autoscalerClass: hpa
spec:
  predictor:
    minReplicas: 1
    maxReplicas: 3
    scaleMetric: cpu
    containers:
    - name: kserve-container
      image: registry.example.com/digits:1
      ports:
      - containerPort: 8080
"""

COMPOSE = """\
services:
  digits:
    image: registry.example.com/torchserve-digits:1.2.0
    ports:
    - 127.0.0.1:8080:8080
    networks: [serving]
    configs:
    - source: settings
      target: /etc/modelport/config.properties
    volumes:
    - ./data:/data
    - cache:/cache
    healthcheck:
      test: [CMD, python, /probe.py]
      interval: 10s
      timeout: 9s
    deploy:
      resources:
        limits:
          memory: 1024M
    labels:
      modelport.io/model-bytes: "400000000"
networks:
  serving: {}
volumes:
  cache: {}
configs:
  settings:
    file: ./config.properties
"""


@pytest.fixture
def check(tmp_path):
    """Check files given as text by name."""

    def run(**files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return check_folder(tmp_path)

    return run


def changed(text, old, new):
    """Give the text with its one ``old`` replaced, and the line of ``!`` in ``new``, which is taken out again."""
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
    found = text.replace(old, new)
    line = found[: found.index("!")].count("\n") + 1 if "!" in new else None
    return found.replace("!", ""), line


def test_the_good_ones_are_good(check):
    files = {"all.yaml": GOOD, "kserve/isvc.yaml": KSERVE, "compose/compose.yaml": COMPOSE}
    assert check(**files) == ()


ROLLED = "spec:\n  selector:\n    matchLabels:\n      app: digits\n  template"
TWIN = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: twin}
spec:
  selector: {!matchLabels: {app: digits}}
  template: {metadata: {labels: {app: digits}}}
"""
BAD = [
    # What a pod says.
    ("probe-port", "error", "port: management", "!port: admin"),
    ("probe-port", "error", "            port: 8080\n", "            !port: 8088\n"),
    ("probe-path", "error", "path: /models/digits\n", "!path: /readyz\n"),
    ("probe-lies", "error", "path: /models/digits\n", "!path: /ping\n"),
    ("probe-local", "error", "path: /models/digits\n            port: management",
     "path: /models/digits\n            !port: 8082"),
    ("probe-timeout", "warning", "timeoutSeconds: 4", "!timeoutSeconds: 6"),
    ("request-above-limit", "error", "            memory: 1Gi\n          limits",
     "            !memory: 2Gi\n          limits"),
    ("memory-below-model", "error", "limits:\n            memory: 1Gi", "limits:\n            !memory: 2e8"),
    ("grace-too-short", "error", "terminationGracePeriodSeconds: 60", "!terminationGracePeriodSeconds: 40"),
    ("grace-too-short", "error", "terminationGracePeriodSeconds: 60", "!hostNetwork: false"),
    ("image-latest", "warning", "image: registry.example.com/torchserve-digits:1.2.0", "!image: torchserve:latest"),
    ("image-latest", "warning", "torchserve-digits:1.2.0", "!torchserve-digits"),
    ("volume-missing", "error", "- name: scratch\n          mountPath", "- !name: temp\n          mountPath"),
    ("mount-twice", "error", "mountPath: /tmp", "!mountPath: /etc/modelport/"),
    # What names something else.
    ("selector-mismatch", "error", "matchLabels:\n      app: digits\n  template",
     "matchLabels:\n      !app: other\n  template"),
    ("selector-mismatch", "error", "  selector:\n    app: digits\n", "  selector:\n    !app: digit\n"),
    ("selector-mismatch", "error", "minAvailable: 1\n  selector:\n    matchLabels:\n      app: digits",
     "minAvailable: 1\n  selector:\n    matchLabels:\n      !app: digit"),
    ("selector-mismatch", "error", "podSelector:\n    matchLabels:\n      app: digits",
     "podSelector:\n    matchLabels:\n      !app: digit"),
    ("selector-mismatch", "error", "      app: digits\n  endpoints", "      !app: digit\n  endpoints"),
    ("port-missing", "error", "targetPort: rest", "!targetPort: http"),
    ("port-missing", "error", "    targetPort: rest", "    !targetPort: 8888"),
    ("port-missing", "error", "endpoints:\n  - port: rest", "endpoints:\n  - !port: metrics"),
    ("port-missing", "error", "port:\n              name: rest", "!port:\n              name: http"),
    ("port-missing", "error", "      port: 80\n", "      !port: 8080\n"),
    ("target-missing", "error", "service:\n            name: digits", "service:\n            !name: digit"),
    ("target-missing", "error", "backendRefs:\n    - name: digits", "backendRefs:\n    - !name: digit"),
    ("target-missing", "error", "    kind: Deployment\n    name: digits", "    kind: Deployment\n    !name: digit"),
    ("reference-missing", "error", "serviceAccountName: digits", "!serviceAccountName: digit"),
    ("reference-missing", "error", "configMap:\n          name: settings", "configMap:\n          !name: setting"),
    ("reference-missing", "error", "configMapRef:\n            name: settings", "configMapRef:\n            !name: x"),
    ("reference-missing", "error", "emptyDir: {}", "persistentVolumeClaim:\n          !claimName: models"),
    ("name-twice", "error", "kind: ServiceAccount\nmetadata:\n  name: digits",
     "kind: Service\nmetadata:\n  !name: digits\nspec:\n  ports: []"),
    # How many there are.
    ("hpa-and-replicas", "warning", "spec:\n  selector:\n    matchLabels:\n      app: digits\n  template",
     "spec:\n  !replicas: 3\n  selector:\n    matchLabels:\n      app: digits\n  template"),
    ("hpa-bounds", "error", "minReplicas: 2", "!minReplicas: 6"),
    ("hpa-no-request", "error", "      name: cpu\n", "      !name: nvidia.com/gpu\n"),
    ("pdb-blocks-drain", "error", "minAvailable: 1", "!minAvailable: 2"),
    ("pdb-blocks-drain", "error", "minAvailable: 1", "!minAvailable: 100%"),
    ("pdb-blocks-drain", "error", "minAvailable: 1", "!maxUnavailable: 0"),
    # Fields.
    ("unknown-field", "error", "serviceAccountName: digits", "!serviceAcountName: digits"),
    ("unknown-field", "error", "      containers:\n", "      !livenessProbe: {}\n      containers:\n"),
    ("wrong-type", "error", 'value: "1"', "!value: 1"),
    ("wrong-type", "error", "minReplicas: 2", '!minReplicas: "2"'),
    ("wrong-type", "error", "      labels:\n        app: digits\n    spec",
     "      labels:\n        !app: true\n    spec"),
    ("unknown-kind", "error", "apiVersion: policy/v1", "!apiVersion: policy/v2"),
    ("key-twice", "error", "  minReplicas: 2\n", "  minReplicas: 2\n  !minReplicas: 3\n"),
    # The servers' files.
    ("torchserve-key-ignored", "error", "default_response_timeout=30",
     "default_response_timeout=30\n    !batch_size=8"),
    ("torchserve-key-ignored", "error", "default_response_timeout=30", "!default_responce_timeout=30"),
    ("torchserve-key-ignored", "error", '"batchSize":8', '"batch_size":8!'),
    ("torchserve-key-twice", "warning", "default_response_timeout=30",
     "default_response_timeout=30\n    !default_response_timeout=31"),
    ("torchserve-models", "error", '{"digits":{', '{"digit!":{'),
    ("torchserve-models", "error", 'models={"digits"', "models={!'digits'"),
    ("torchserve-loads-nothing", "error", "    load_models=digits=digits.mar\n    m", "    !m"),
    ("torchserve-local-address", "warning", "inference_address=http://0.0.0.0", "!inference_address=http://127.0.0.1"),
    ("port-missing", "error", "    - port: rest\n---", "    - !port: http\n---"),
    ("port-not-served", "error", "containerPort: 8080", "!containerPort: 8180"),
    ("reference-missing", "error", "          name: settings\n      - name: scratch",
     "          name: settings\n          items:\n          - !key: x\n            path: x\n      - name: scratch"),
    ("selector-shared", "error", "---\napiVersion: v1\nkind: Service\n",
     f"---\n{TWIN}---\napiVersion: v1\nkind: Service\n"),
    ("scratch-above-memory", "warning", "emptyDir: {}", "emptyDir: {medium: Memory, !sizeLimit: 2Gi}"),
    ("root-refused", "error", "runAsUser: 10001", "!runAsUser: 0"),
    ("liveness-kills", "warning",
     "livenessProbe:\n          tcpSocket:\n            port: 8080\n          failureThreshold: 12",
     "!livenessProbe:\n          tcpSocket:\n            port: 8080"),
    ("rollout-gap", "warning", ROLLED,
     f"spec:\n  strategy: {{rollingUpdate: {{!maxUnavailable: 100%}}}}\n{ROLLED[6:]}"),
    ("env-twice", "warning", "        envFrom:", "        - !name: LEVEL\n          value: x\n        envFrom:"),
    ("tls-host", "warning", "spec:\n  rules:\n  - host",
     "spec:\n  tls:\n  - !hosts: [other.example.com]\n  rules:\n  - host"),
    ("name-refused", "error", "kind: ServiceAccount\nmetadata:\n  name: digits",
     "kind: ServiceAccount\nmetadata:\n  !name: Digits"),
    ("name-refused", "error", "  labels:\n    app: digits\nspec:\n  selector:",
     "  labels:\n    app: digits\n    !version: 1.0+1\nspec:\n  selector:"),
    ("name-refused", "error", "- name: management", "- !name: the-management-port"),
    ("name-refused", "error", "  config.properties: |", "  !conf/config.properties: |"),
    ("name-refused", "error", "- name: server\n", "- !name: The_Server\n"),
    ("name-refused", "error", "      - name: scratch\n        emptyDir: {}",
     "      - name: scratch\n        emptyDir: {}\n      - !name: scratch\n        emptyDir: {}"),
    ("field-missing", "error", "scaleTargetRef:\n    apiVersion: apps/v1\n    kind: Deployment\n    name: digits\n",
     "!minReplicas: 1\n"),
    ("field-missing", "error", "      - path: /\n        pathType: Prefix\n", "      - !path: /\n"),
    ("field-missing", "error", "- name: LEVEL\n          value:", "- !value:"),
    # What is taken, and meant otherwise.
    ("unit-mistaken", "error", "limits:\n            memory: 1Gi", "limits:\n            !memory: 512m"),
    ("unit-mistaken", "error", "limits:\n            memory: 1Gi", "limits:\n            !memory: 512"),
    ("unit-mistaken", "error", "cpu: 500m", "!cpu: 2000"),
    ("capability-unknown", "error", "runAsUser: 10001", "runAsUser: 10001\n          capabilities: {drop: [!all]}"),
    ("capability-unknown", "error", "runAsUser: 10001", "runAsUser: 10001\n          capabilities: {add: [!CAP_KILL]}"),
    ("capability-unknown", "error", "runAsUser: 10001", "runAsUser: 10001\n          capabilities: {add: [!NET_BIND]}"),
    ("mount-relative", "warning", "mountPath: /etc/modelport", "!mountPath: etc/modelport"),
    ("volume-empty", "warning", "- name: scratch\n        emptyDir: {}", "- !name: scratch"),
    ("policy-ignored", "error", "  ingress:\n  - ports:", "  policyTypes: [Egress]\n  !ingress:\n  - ports:"),
    ("host-port", "warning", "containerPort: 8081", "containerPort: 8081\n          !hostPort: 8081"),
    ("hpa-no-target", "error", "type: Utilization\n        averageUtilization: 70", "!type: Utilization"),
    ("hpa-no-target", "error", "        type: Utilization\n        averageUtilization: 70",
     "        !type: AverageValue\n        averageUtilization: 70"),
    ("hpa-no-target", "error", "- type: Resource\n    resource", "- !type: Pods\n    resource"),
    ("hpa-scale-to-zero", "error", "minReplicas: 2", "!minReplicas: 0"),
    ("pdb-blocks-drain", "error", "minAvailable: 1", "!minAvailable: 51%"),
]  # fmt: skip

REFUSED = [
    ("port: 80\n    targetPort", "!port: 80000\n    targetPort"),
    ("pathType: Prefix", "!pathType: prefix"),
    ("path: /\n        pathType", "!path: predict\n        pathType"),
    ("port: 80\n    targetPort", "port: 80\n    !nodePort: 30080\n    targetPort"),
    ("containerPort: 8081", "containerPort: 8081\n          !hostPort: 70000"),
    ("          failureThreshold: 12", "          failureThreshold: 12\n          !successThreshold: 2"),
    (
        "livenessProbe:\n          tcpSocket:\n            port: 8080\n",
        "livenessProbe:\n          !periodSeconds: 30\n",
    ),
    ("mountPath: /tmp", "!mountPath: /tmp:rw"),
    ("mountPath: /tmp", "mountPath: /tmp\n          !subPath: ../x"),
    ("emptyDir: {}", "emptyDir: {}\n        !hostPath: {path: /x}"),
    (
        "        type: Utilization\n        averageUtilization: 70",
        "        type: Utilization\n        !averageUtilization: 0",
    ),
    ("minAvailable: 1", "!minAvailable: 1\n  maxUnavailable: 1"),
    ("kind: ServiceAccount", "kind: Secret\ndata:\n  !token: plain text\n"),
    ("containerPort: 8081", "containerPort: 8081\n          !protocol: tcp"),
    ("image: registry.example.com/torchserve-digits:1.2.0", "image: a/torchserve\n        !imagePullPolicy: always"),
    ("image: registry.example.com/torchserve-digits:1.2.0", "!image: registry.example.com/torchserve-Digits:1.2.0"),
    ("            memory: 1Gi\n          limits", "            !memory: 1GB\n          limits"),
    ("limits:\n            memory: 1Gi", "limits:\n            !nvidia.com/gpu: 0.5\n            memory: 1Gi"),
    ("            cpu: 500m\n", "            cpu: 500m\n            !nvidia.com/gpu: 2\n"),
    ("periodSeconds: 5", "!periodSeconds: 0"),
    ("timeoutSeconds: 4", "timeoutSeconds: 4\n          !exec: {command: [a]}"),
    (ROLLED, f"spec:\n  !replicas: -1\n{ROLLED[6:]}"),
    (ROLLED, f"spec:\n  strategy: {{rollingUpdate: {{maxSurge: 0, !maxUnavailable: 0}}}}\n{ROLLED[6:]}"),
    (ROLLED, f"spec:\n  strategy: {{type: Recreate, !rollingUpdate: {{maxSurge: 1}}}}\n{ROLLED[6:]}"),
    ("runAsUser: 10001", "runAsUser: 10001\n          allowPrivilegeEscalation: false\n          !privileged: true"),
    ("terminationGracePeriodSeconds: 60", "terminationGracePeriodSeconds: 60\n      !restartPolicy: Never"),
    ('value: "1"', 'value: "1"\n          !valueFrom: {fieldRef: {fieldPath: metadata.name}}'),
]


@pytest.mark.parametrize(("code", "severity", "old", "new"), BAD)
def test_each_finding(check, code, severity, old, new):
    text, line = changed(GOOD, old, new)
    found = [finding for finding in check(**{"all.yaml": text}) if finding.code == code]
    assert [(finding.file, finding.severity, finding.line) for finding in found] == [("all.yaml", severity, line)]


@pytest.mark.parametrize(("old", "new"), REFUSED)
def test_values_that_are_refused(check, old, new):
    text, line = changed(GOOD, old, new)
    found = [finding for finding in check(**{"all.yaml": text}) if finding.code == "value-refused"]
    assert [(finding.severity, finding.line) for finding in found] == [("error", line)]


def test_one_pod_on_a_port_of_its_node_waits_for_itself(check):
    world = "---\n".join(GOOD.split("---\n")[:4])
    world = world.replace("containerPort: 8081", "containerPort: 8081\n          hostPort: 8081")
    (found,) = check(**{"all.yaml": world})
    assert (found.code, found.severity) == ("host-port", "warning")
    assert "the old one ends" in found.message
    recreate = world.replace(ROLLED, f"spec:\n  strategy: {{type: Recreate}}\n{ROLLED[6:]}")
    assert check(**{"all.yaml": recreate}) == ()


def test_two_that_decide_over_the_same_pods(check):
    parts = GOOD.split("---\n")
    twins = [
        part.replace("  name: digits\nspec", "  name: twin\nspec", 1)
        for part in parts
        if "minReplicas" in part or "minA" in part
    ]
    found = check(**{"all.yaml": "---\n".join([*parts, *twins])})
    assert [(one.code, one.severity) for one in found] == [("hpa-twice", "error"), ("pdb-blocks-drain", "error")]
    apart = check(**{"all.yaml": GOOD, "elsewhere/all.yaml": "---\n".join(twins)})
    assert apart == ()


def test_a_disk_of_one_node_for_several_pods(check):
    claim = (
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: models}\nspec: {accessModes: [ReadWriteOnce]}\n"
    )
    text, line = changed(GOOD, "emptyDir: {}", "persistentVolumeClaim:\n          !claimName: models")
    (found,) = check(**{"all.yaml": f"{text}---\n{claim}"})
    assert (found.code, found.severity, found.line) == ("volume-one-node", "warning", line)
    assert check(**{"all.yaml": f"{text}---\n{claim}".replace("ReadWriteOnce", "ReadOnlyMany")}) == ()


def test_scale_to_zero_by_a_metric_of_somebody_else(check):
    text = GOOD.replace("minReplicas: 2", "minReplicas: 0")
    old = text[text.index("  - type: Resource") : text.index("---\napiVersion: policy")]
    new = "  - type: External\n    external: {metric: {name: queue}, target: {type: AverageValue, averageValue: 30}}\n"
    (found, *_) = check(**{"all.yaml": text.replace(old, new)})
    assert (found.code, found.severity) == ("hpa-scale-to-zero", "warning")


def test_a_job_ends(check):
    pod = "{restartPolicy: Never, containers: [{name: a, image: 'a:1'}]}"
    job = f"apiVersion: batch/v1\nkind: Job\nmetadata: {{name: a}}\nspec: {{template: {{spec: {pod}}}}}\n"
    assert check(**{"job.yaml": job}) == ()
    (found,) = check(**{"job.yaml": job.replace("restartPolicy: Never, ", "")})
    assert (found.code, found.severity) == ("value-refused", "error")


def test_a_read_only_root_without_room_to_write(check):
    text, _ = changed(GOOD, "mountPath: /tmp", "mountPath: /scratch")
    (found,) = check(**{"all.yaml": text})
    assert (found.code, found.severity) == ("scratch-missing", "error")
    assert "/tmp, which torchserve writes to" in found.message


def test_a_server_without_readiness(check):
    start, end = GOOD.index("        readinessProbe:"), GOOD.index("        livenessProbe:")
    (found,) = check(**{"all.yaml": GOOD[:start] + GOOD[end:]})
    assert (found.code, found.severity) == ("readiness-missing", "warning")


@pytest.mark.parametrize(
    ("flags", "served"),
    [
        ("[--rest_api_port=8501]", True),
        ("[--port=8500, --rest_api_port, '8501']", True),
        ("[--model_name=digits]", True),
        ("[--rest_api_port=8601]", False),
    ],
)
def test_ports_that_tensorflow_serving_is_told(check, flags, served):
    text = f"""\
apiVersion: v1
kind: Pod
metadata: {{name: digits}}
spec:
  containers:
  - name: server
    image: tensorflow/serving:2.19.1
    args: {flags}
    ports:
    - {{name: rest, containerPort: 8501}}
    - {{name: grpc, containerPort: 8500}}
"""
    assert [finding.code for finding in check(**{"pod.yaml": text})] == ([] if served else ["port-not-served"])


BAD_KSERVE = [
    ("kserve-canary-ignored", "error", "    minReplicas: 1\n", "    minReplicas: 1\n    !canaryTrafficPercent: 10\n"),
    ("kserve-scale-to-zero", "error", "minReplicas: 1", "!minReplicas: 0"),
    ("kserve-mode-unknown", "error", "serving.kserve.io/deploymentMode: Standard",
     "!serving.kserve.io/deploymentMode: Raw"),
    ("kserve-scale-metric", "error", "scaleMetric: cpu", "!scaleMetric: concurrency"),
    ("kserve-key-ignored", "warning", "    minReplicas: 1\n", "    minReplicas: 1\n    !containerConcurrency: 4\n"),
    ("kserve-container-name", "error", "- name: kserve-container", "- !name: server"),
    ("unknown-field", "error", "maxReplicas: 3", "!maxReplica: 3"),
    ("unknown-field", "error", "  predictor:\n", "  !predictors: {}\n  predictor:\n"),
    ("kserve-agent", "error", "    containers:", "    model:\n      !modelFormat: {name: sklearn}\n    containers:"),
    ("kserve-canary-name", "error", "  predictor:\n    minReplicas",
     "  canary:\n  - trafficPercent: 10\n    predictor:\n      !minReplicas: 1\n  predictor:\n    minReplicas"),
    ("kserve-canary-autoscale", "error", "  predictor:\n    minReplicas",
     "  canary:\n  - trafficPercent: 10\n    predictor: {name: v2, !maxReplicas: 1}\n  predictor:\n    minReplicas"),
    ("kserve-canary-share", "error", "  predictor:\n    minReplicas",
     "  !canary:\n  - trafficPercent: 101\n    predictor: {name: v2}\n  predictor:\n    minReplicas"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "severity", "old", "new"), BAD_KSERVE)
def test_each_finding_of_kserve(check, code, severity, old, new):
    text, line = changed(KSERVE, old, new)
    found = [finding for finding in check(**{"isvc.yaml": text}) if finding.code == code]
    assert [(finding.severity, finding.line) for finding in found] == [(severity, line)]


BAD_KNATIVE = [
    ("kserve-canary-ignored", "  predictor:\n    min", "  !canary: []\n  predictor:\n    min"),
    ("kserve-scale-metric", "scaleMetric: cpu", "!scaleMetric: cpu"),
    ("kserve-ports", "      - containerPort: 8080\n", "      - containerPort: 8080\n      - containerPort: 8081\n"),
    ("kserve-ports", "      - containerPort: 8080\n", "      - containerPort: 8080\n        !name: rest\n"),
    ("kserve-key-ignored", "    minReplicas: 1\n", "    minReplicas: 1\n    !deploymentStrategy: {}\n"),
]


@pytest.mark.parametrize(("code", "old", "new"), BAD_KNATIVE)
def test_each_finding_of_knative(check, code, old, new):
    text, line = changed(KSERVE.replace("Mode: Standard", "Mode: Knative"), old, new)
    found = [finding for finding in check(**{"isvc.yaml": text}) if finding.code == code]
    assert len(found) == 1
    assert line is None or found[0].line == line


def test_scale_to_zero_with_the_hpa_of_knative(check):
    text = KSERVE.replace("Mode: Standard", "Mode: Knative").replace("minReplicas: 1", "minReplicas: 0")
    text = text.replace("spec:", "    autoscaling.knative.dev/class: hpa.autoscaling.knative.dev\nspec:", 1)
    assert [finding.code for finding in check(**{"isvc.yaml": text})] == ["kserve-scale-to-zero"]


@pytest.mark.parametrize("mode", ["RawDeployment", "Standard"])
def test_old_name_of_a_mode_is_taken(check, mode):
    text = KSERVE.replace("Mode: Standard", f"Mode: {mode}").replace("    scaleMetric: cpu\n", "")
    assert check(**{"isvc.yaml": text}) == ()


BAD_COMPOSE = [
    ("compose-key-ignored", "warning", "services:\n", '!version: "3.8"\nservices:\n'),
    ("compose-key-ignored", "warning", "    deploy:\n", "    deploy:\n      !placement: {}\n"),
    ("unknown-field", "error", "healthcheck:", "!healtcheck:"),
    ("reference-missing", "error", "networks: [serving]", "networks: [!servings]"),
    ("reference-missing", "error", "- source: settings", "- !source: setting"),
    ("reference-missing", "error", "- cache:/cache", "- !caches:/cache"),
    ("reference-missing", "error", "    ports:\n", "    depends_on: [!other]\n    ports:\n"),
    ("probe-lies", "error", "test: [CMD, python, /probe.py]", "!test: curl -f http://localhost:8080/ping"),
    ("probe-timeout", "warning", "timeout: 9s", "!timeout: 1m"),
    ("memory-below-model", "error", "memory: 1024M", "!memory: 256M"),
    ("image-latest", "warning", "image: registry.example.com/torchserve-digits:1.2.0", "!image: torchserve"),
    ("compose-port-twice", "error", "    - 127.0.0.1:8080:8080\n",
     "    - 127.0.0.1:8080:8080\n    - !127.0.0.1:8080:8081\n"),
    ("compose-port-twice", "error", "    deploy:\n", "    scale: 2\n    deploy:\n"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "severity", "old", "new"), BAD_COMPOSE)
def test_each_finding_of_compose(check, code, severity, old, new):
    text, line = changed(COMPOSE, old, new)
    found = [finding for finding in check(**{"compose.yaml": text}) if finding.code == code]
    assert [finding.severity for finding in found] == [severity]
    assert line is None or found[0].line == line


BATCHING = "max_batch_size { value: 8 }\nallowed_batch_sizes: 4\nallowed_batch_sizes: 8\n"
MODELS = 'model_config_list {\n  config {\n    name: "digits"\n    base_path: "/models/digits"\n  }\n}\n'


@pytest.mark.parametrize(
    ("file", "text", "code", "line"),
    [
        ("batching.config", BATCHING.replace("sizes: 8", "sizes: 16"), "tfserving-batch-sizes", 3),
        ("batching.config", BATCHING.replace("sizes: 4", "sizes: 9"), "tfserving-batch-sizes", 2),
        ("batching.config", BATCHING.replace("{ value: 8 }", ": 8"), "tfserving-field", 1),
        ("batching.config", BATCHING + "max_batch_delay: 5\n", "tfserving-field", 4),
        ("models.config", MODELS.replace("/models", "models"), "tfserving-relative-path", 4),
        ("models.config", MODELS.replace("base_path", "path"), "tfserving-field", 4),
        ("models.config", MODELS + MODELS, "tfserving-name-twice", 9),
    ],
)
def test_each_finding_of_tfserving(check, file, text, code, line):
    assert [(found.code, found.line) for found in check(**{file: text}) if found.code == code] == [(code, line)]


def test_tfserving_files_that_are_right(check):
    comment = "# base_path: relative, allowed_batch_sizes: 3\n"
    assert check(**{"batching.config": comment + BATCHING, "models.config": comment + MODELS}) == ()


KUSTOMIZATION = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
- base.yaml
patches:
- path: patch.yaml
"""
PATCH = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: digits\nspec:\n  replicas: 2\n"


@pytest.mark.parametrize(
    ("old", "new", "code", "line"),
    [
        ("- base.yaml", "- base.yaml\n- other.yaml", "kustomize-missing", 5),
        ("path: patch.yaml", "path: patches.yaml", "kustomize-missing", 6),
        ("resources:", "resource:", "unknown-field", 3),
        ("resources:\n- base.yaml\npatches:\n- path: patch.yaml\n", "commonLabels: {}\n", "kustomize-empty", 1),
        ("resources:\n- base.yaml", "resources:\n- .", "kustomize-missing", 4),
    ],
)
def test_each_finding_of_kustomize(check, old, new, code, line):
    files = {"kustomization.yaml": KUSTOMIZATION.replace(old, new), "base.yaml": GOOD, "patch.yaml": PATCH}
    found = [(each.file, each.line) for each in check(**files) if each.code == code]
    assert found == [("kustomization.yaml", line)]


def test_patch_of_nothing(check):
    files = {"kustomization.yaml": KUSTOMIZATION, "base.yaml": GOOD, "patch.yaml": PATCH.replace("digits", "digit")}
    assert [(found.code, found.line) for found in check(**files)] == [("kustomize-patch", 6)]


def test_overlays_are_checked_as_patched(check):
    files = {
        "base/kustomization.yaml": "resources: [all.yaml]\n",
        "base/all.yaml": GOOD,
        "prod/kustomization.yaml": "resources: [../base]\n" + KUSTOMIZATION.partition("- base.yaml\n")[2],
        "prod/patch.yaml": PATCH,
    }
    (found,) = check(**files)
    assert (found.file, found.line, found.code) == ("prod/patch.yaml", 6, "hpa-and-replicas")


def test_kustomize_overrides_images(check):
    bad = GOOD.replace("torchserve-digits:1.2.0", "torchserve-digits")
    images = "images:\n- name: registry.example.com/torchserve-digits\n  newTag: {}\n"
    files = {"kustomization.yaml": "resources: [all.yaml]\n" + images.format("'2'"), "all.yaml": bad}
    assert check(**files) == ()
    files["kustomization.yaml"] = "resources: [all.yaml]\n" + images.format("latest")
    assert [(found.file, found.code) for found in check(**files)] == [("kustomization.yaml", "image-latest")]


def test_what_is_elsewhere_is_not_called_missing(check):
    lonely = GOOD.replace("kind: ServiceAccount", "kind: Role").replace("apiVersion: v1\nkind: Role", "kind: Role")
    remote = "resources:\n- https://example.com/base?ref=v1\n- all.yaml\n"
    assert "reference-missing" not in {f.code for f in check(**{"kustomization.yaml": remote, "all.yaml": lonely})}
    local = "resources:\n- all.yaml\n"
    assert "reference-missing" in {f.code for f in check(**{"kustomization.yaml": local, "all.yaml": lonely})}


def test_what_is_allowed_though_it_looks_wrong(check):
    role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: 'system:reader'}\nrules: []\n"
    limits = "apiVersion: v1\nkind: LimitRange\nmetadata: {name: a}\nspec: {limits: [{type: Pod, max: {cpu: 2}}]}\n"
    named = "apiVersion: v1\nkind: Secret\nmetadata: {generateName: a-}\ndata: {key: 'aGk='}\n"
    deny = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a}\nspec: {policyTypes: [Egress]}\n"
    daemon = (
        "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: a}\nspec:\n  selector: {matchLabels: {app: a}}\n"
        "  template:\n    metadata: {labels: {app: a}}\n    spec:\n      hostNetwork: true\n      containers:\n"
        "      - {name: a, image: 'a:1', ports: [{containerPort: 9100, hostPort: 9100}]}\n"
        "      volumes:\n      - name: a\n        emptyDir:\n"
    )
    assert check(**{"all.yaml": f"{role}---\n{limits}---\n{named}---\n{deny}---\n{daemon}"}) == ()


def test_what_cannot_be_known_is_not_called_wrong(check):
    undeclared = re.sub(r"        ports:\n(        -? .*\n){4}", "", GOOD).replace("port: management", "port: 8081")
    undeclared = undeclared.replace("targetPort: rest", "targetPort: 8080")
    assert "containerPort" not in undeclared
    deployment, service, *others = GOOD.split("---\n")
    rollout = deployment.replace("apps/v1", "argoproj.io/v1alpha1").replace("Deployment", "Rollout")
    assert check(**{"a/all.yaml": undeclared}) == ()
    assert check(**{"a/all.yaml": service}) == ()
    assert check(**{"a/all.yaml": "---\n".join([rollout, service, *others[:2]])}) == ()


SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\n"


def test_a_broken_file_is_one_finding(check):
    (found,) = check(**{"a.yaml": "kind: Service\nmetadata:\n\tname: x\n", "b.yaml": SECRET})
    assert (found.file, found.line, found.column, found.code) == ("a.yaml", 3, 1, "yaml-unreadable")
    assert str(found).startswith("a.yaml:3:1: error: ")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "a: " + "{a: " * 5_000,
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{c}: &{c} [{', '.join([f'*{b}'] * 10)}]\n" for b, c in zip("abcdefg", "bcdefgh", strict=True)),
        "a: &a [*a]",
        "? [1]\n: 2\n",
        "a: *b\n",
        "a: 'b\n",
        "\ufeff\x00",
    ],
    ids=["deep list", "deep mapping", "laughs", "itself", "key", "alias", "quote", "control"],
)
def test_hostile_text_is_one_finding(text):
    data, findings = read_yaml("a.yaml", text.encode())
    assert (data, [finding.code for finding in findings]) == ([], ["yaml-unreadable"])


def test_text_that_is_no_text():
    assert [f.code for f in read_yaml("a.yaml", b"a: \xff\n")[1]] == ["yaml-unreadable"]
    assert [f.code for f in read_yaml("a.yaml", b"#" * 5_000_000)[1]] == ["yaml-unreadable"]


def test_tags_build_nothing_and_merges_are_taken_over():
    (data,), findings = read_yaml(
        "a.yaml", b"x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\nz: !!python/object:os.x {}\nt: 0x1F\n"
    )
    assert findings == []
    assert data["y"] == {"a": 1, "b": 3}
    assert data["z"] == {}
    assert data["t"] == 31


def test_no_such_folder_and_none_in_it(tmp_path):
    with pytest.raises(SpecError, match="no such folder"):
        check_folder(tmp_path / "missing")
    with pytest.raises(SpecError, match="holds no manifest"):
        check_folder(tmp_path)


def test_a_list_of_objects(check):
    head = "apiVersion: v1\nkind: List\nitems:\n"
    text = head + "- apiVersion: v1\n  kind: Service\n  metadata: {name: a}\n  spec: {port: 1}\n"
    assert [(found.code, found.line) for found in check(**{"a.yaml": text})] == [("unknown-field", 7)]


def test_findings_are_data(check):
    (found,) = check(**{"all.yaml": GOOD.replace("minAvailable: 1", "minAvailable: 2")})
    assert found.to_json() == {
        "file": "all.yaml",
        "line": found.line,
        "column": 3,
        "severity": "error",
        "code": "pdb-blocks-drain",
        "message": found.message,
    }


def test_a_misplaced_field_is_told_its_place():
    (data,), _ = read_yaml(
        "a.yaml", b"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {image: b, resource: {}}\n"
    )
    messages = [finding.message for finding in check_fields((Object(data),))]
    assert any("belongs in Pod.spec." in message for message in messages)
    assert any("did you mean resources" in message for message in messages)


def test_charts_are_said_not_to_be_checked(check):
    files = {"digits/Chart.yaml": "apiVersion: v2\nname: digits\n", "digits/templates/a.yaml": "{{ if }}"}
    assert [(f.file, f.severity, f.code) for f in check(**files)] == [
        ("digits/Chart.yaml", "note", "chart-not-rendered")
    ]


def own_folders():
    folders = sorted(GOLDEN.glob("*/*"))
    return [pytest.param(folder, id=f"{folder.parent.name}-{folder.name}") for folder in folders if folder.is_dir()]


@pytest.mark.parametrize("folder", own_folders())
def test_what_modelport_writes_has_no_finding(folder):
    found = check_folder(folder)
    notes = {"chart-not-rendered"} if folder.parent.name == "helm" else set()
    assert {finding.code for finding in found} == notes, "\n".join(map(str, found))


def codes_in(file):
    """Give the codes of the findings that a module makes."""
    for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") in {"error", "warning", "note"}:
            assert isinstance(call.args[1], ast.Constant), f"{file.name}:{call.lineno}: the code must be plain text"
            yield call.args[1].value


def test_every_finding_is_explained():
    package = ROOT / "manifests" / "modelport_manifests" / "check"
    codes = {code for file in package.glob("*.py") for code in codes_in(file)}
    explained = re.findall(r"^\| `([a-z-]+)` \|", (ROOT / "docs" / "manifests-check.md").read_text(), re.MULTILINE)
    assert sorted(codes) == sorted(explained)


def test_torchserve_has_every_key_that_is_known():
    spec = find_spec("ts")
    if spec is None or spec.origin is None:
        pytest.skip("torchserve is not installed here")
    with zipfile.ZipFile(Path(spec.origin).parent / "frontend" / "model-server.jar") as jar:
        names = [name for name in jar.namelist() if name.startswith("org/pytorch/serve/util/ConfigManager")]
        code = b"".join(jar.read(name) for name in names)
    launchers = {"vmargs"}  # read by the Python program that starts Java
    assert [key for key in PROPERTIES if key.encode() not in code and key not in launchers] == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500m", 0.5),
        ("1.5Gi", 1.5 * 2**30),
        ("1e3", 1000),
        (2, 2),
        ("1k", 1000),
        ("x", None),
        (True, None),
        ("1mi", None),
    ],
)
def test_quantities(text, value):
    assert read_quantity(text) == value


@pytest.mark.parametrize(
    ("text", "value"), [("512m", 512 * 2**20), ("1.5gb", 1.5 * 2**30), ("1024", 1024), ("x", None)]
)
def test_sizes(text, value):
    assert read_size(text) == value


@pytest.mark.parametrize(("text", "value"), [("1m30s", 90), ("500ms", 0.5), ("9s", 9), ("1h", 3600), ("", None)])
def test_durations(text, value):
    assert read_seconds(text) == value


def test_places_are_kept():
    (data,), _ = read_yaml("a.yaml", b"a:\n  b: |\n    text\n")
    assert isinstance(data["a"], Table)
    assert data["a"].at("b")[1:] == (2, 3)
    assert data["a"].texts_at["b"] == 3
