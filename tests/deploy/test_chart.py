"""The chart, rendered by Helm's own library, and what it renders against Kubernetes' schemas."""

import re
import subprocess

import helm_python as helm
import kubernetes_validate
import pytest
import yaml
from conftest import DEPLOY, bare_environment

CHART = DEPLOY / "helm" / "seawall"
# Of Kubernetes: the oldest that Chart.yaml allows, and the newest that there are schemas of.
VERSIONS = ["1.27", kubernetes_validate.latest_version()]
FULL = {
    "image": {"digest": "sha256:" + "0" * 64, "pullSecrets": [{"name": "registry"}]},
    "settings": '[upstream]\nurl = "http://llm:8000"\n[limits]\nconcurrency = 50\n',
    "policies": {"support.toml": 'name = "support"\n', "projects.txt": "blue sky\n"},
    "env": [{"name": "SEAWALL_REVIEW__STORE", "valueFrom": {"secretKeyRef": {"name": "seawall", "key": "store"}}}],
    "volumes": [{"name": "guards", "persistentVolumeClaim": {"claimName": "guards"}}],
    "volumeMounts": [{"name": "guards", "mountPath": "/guards", "readOnly": True}],
    "service": {"annotations": {"a": "b"}},
    "admin": {"scheme": "HTTPS"},
    "resources": {"limits": {"nvidia.com/gpu": 1}},
    "autoscaling": {"enabled": True},
    "networkPolicy": {
        "clients": [{"namespaceSelector": {"matchLabels": {"team": "support"}}}],
        "admin": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
    },
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"rules": "groups:\n  - name: seawall\n    rules: []\n"},
    "podAnnotations": {"a": "b"},
    "podLabels": {"team": "safety"},
    "nodeSelector": {"gpu": "yes"},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "runtimeClassName": "nvidia",
    "priorityClassName": "high",
}


def rendered(values: dict | None = None) -> dict[str, dict]:
    """Manifests by kind and name."""
    with helm.Chart.load(str(CHART)) as chart:
        files = chart.render(values or {}, name="demo", namespace="prod")
    texts = [text for name, text in files.items() if name.endswith(".yaml")]
    manifests = [manifest for text in texts for manifest in yaml.safe_load_all(text) if manifest]
    named = {f"{manifest['kind']}/{manifest['metadata']['name']}": manifest for manifest in manifests}
    assert len(named) == len(manifests), "two of one name"
    return named


@pytest.mark.parametrize("values", [{}, FULL], ids=["as it comes", "with everything"])
def test_what_it_renders_is_what_kubernetes_takes(values):
    assert f">={VERSIONS[0]}.0" in (CHART / "Chart.yaml").read_text()
    for manifest in rendered(values).values():
        # The Prometheus operator's kinds are not Kubernetes' own.
        if not manifest["apiVersion"].startswith("monitoring.coreos.com/"):
            assert [kubernetes_validate.validate(manifest, version, strict=True) for version in VERSIONS]


def test_helm_finds_nothing_to_mend():
    findings = helm.lint(str(CHART), FULL, strict=True)
    assert [found for found in findings["messages"] if "icon is recommended" not in found["error"]] == []
    assert findings["errors"] == []


def test_a_wrong_value_is_refused():
    with helm.Chart.load(str(CHART)) as chart:
        chart.validate_schema({})
        chart.validate_schema(FULL)
        for wrong in [
            {"replica": 3},
            {"replicas": "3"},
            {"settings": {"upstream": {}}},
            {"image": {"digest": "latest"}},
        ]:
            with pytest.raises(helm.HelmValuesError):
                chart.validate_schema(wrong)


def pod(manifests: dict) -> dict:
    return manifests["Deployment/demo-seawall"]["spec"]["template"]


@pytest.mark.parametrize("values", [{}, FULL], ids=["as it comes", "with everything"])
def test_the_pod_may_do_little(values):
    """What Kubernetes' restricted standard asks for, and a root that is not written to."""
    spec = pod(rendered(values))["spec"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not spec["automountServiceAccountToken"]
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all(mount.get("readOnly") for mount in container["volumeMounts"] if mount["mountPath"] != "/var/lib/seawall")


def test_probes_ask_the_admin_listener():
    for values, scheme in [({}, "HTTP"), (FULL, "HTTPS")]:
        (container,) = pod(rendered(values))["spec"]["containers"]
        paths = {probe: container[probe]["httpGet"] for probe in ["startupProbe", "livenessProbe", "readinessProbe"]}
        assert {probe: get["path"] for probe, get in paths.items()} == {
            "startupProbe": "/healthz",
            "livenessProbe": "/healthz",
            "readinessProbe": "/readyz",
        }
        assert all((get["port"], get["scheme"]) == ("admin", scheme) for get in paths.values())


def test_settings_restart_pods_and_policies_do_not():
    plain = pod(rendered(FULL))
    assert pod(rendered(FULL | {"policies": {"support.toml": 'name = "other"\n'}})) == plain
    other = pod(rendered(FULL | {"settings": "[listen]\nmax_calls = 5\n"}))
    assert other["metadata"]["annotations"] != plain["metadata"]["annotations"]
    assert other["spec"] == plain["spec"]


def test_the_autoscaler_goes_by_a_metric_that_there_is():
    manifests = rendered(FULL)
    (metric,) = manifests["HorizontalPodAutoscaler/demo-seawall"]["spec"]["metrics"]
    name = metric["pods"]["metric"]["name"]
    assert name == "seawall_guard_waiting"
    assert f'"{name.removeprefix("seawall_")}"' in (DEPLOY.parent / "src/telemetry/metrics.rs").read_text()
    assert "replicas" not in manifests["Deployment/demo-seawall"]["spec"], "the autoscaler's business"
    assert rendered()["Deployment/demo-seawall"]["spec"]["replicas"] == 2


def test_the_admin_listener_is_not_for_everybody():
    manifests = rendered()
    assert manifests["Service/demo-seawall-admin"]["spec"]["type"] == "ClusterIP"
    assert [port["name"] for port in manifests["Service/demo-seawall"]["spec"]["ports"]] == ["http"]
    calls, admin = manifests["NetworkPolicy/demo-seawall"]["spec"]["ingress"]
    assert "from" not in calls
    assert admin["from"] == [{"podSelector": {}}]
    calls, admin = rendered(FULL)["NetworkPolicy/demo-seawall"]["spec"]["ingress"]
    assert calls["from"] == FULL["networkPolicy"]["clients"]
    assert admin["from"] == FULL["networkPolicy"]["admin"]


def test_the_rules_of_a_file_become_prometheus_rules():
    assert rendered(FULL)["PrometheusRule/demo-seawall"]["spec"] == {"groups": [{"name": "seawall", "rules": []}]}
    assert not any(name.startswith("PrometheusRule/") for name in rendered())


@pytest.mark.parametrize("values", [{}, FULL], ids=["as it comes", "with everything"])
def test_the_program_takes_what_it_is_given(values, installed, tmp_path):
    manifests = rendered(values)
    (container,) = pod(manifests)["spec"]["containers"]
    settings = tmp_path / "seawall.toml"
    settings.write_text(manifests["ConfigMap/demo-seawall"]["data"]["seawall.toml"])
    given = {one["name"]: one.get("value", "sqlite://x.db") for one in container["env"]}
    program = installed / "bin/seawall"
    info = [program, "guard", "info", "--config", settings]
    done = subprocess.run(info, cwd=tmp_path, env=bare_environment() | given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # Its flags, and what these point to.
    usage = subprocess.run([program, "serve", "--help"], capture_output=True, text=True).stdout
    assert all(flag in usage for flag in container["args"] if flag.startswith("--"))
    assert ("--policies" in container["args"]) == bool(values.get("policies"))


def test_the_values_of_the_guide_are_the_charts():
    guide = (DEPLOY / "README.md").read_text()
    values, adapter = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL))
    with helm.Chart.load(str(CHART)) as chart:
        chart.validate_schema(values)
    (container,) = pod(rendered(values))["spec"]["containers"]
    assert container["image"].startswith("registry.example.com/seawall:")
    assert adapter["rules"][0]["seriesQuery"].startswith("seawall_guard_waiting{")
