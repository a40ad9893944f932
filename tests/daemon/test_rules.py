"""Rules, their tests, the dashboard and the reference of metrics: nothing in them that the catalogue does not have."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from mdfeedd.daemon import catalogue
from mdfeedd.daemon.metrics_page import page

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "config" / "prometheus"
RULES = PROMETHEUS / "mdfeedd.rules.yml"
TESTS = PROMETHEUS / "mdfeedd.rules.test.yml"
DASHBOARD = ROOT / "config" / "grafana" / "mdfeedd.json"
METRIC = re.compile(r"(?<![:\w])mdfeedd_[a-z0-9_]+")
RECORDED = re.compile(r"\b[a-z]+:mdfeedd_\w+:\w+")

promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)"
)


def rules():
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts():
    return [rule for rule in rules() if "alert" in rule]


def exported():
    """Names of series, as a query has them."""
    names = set()
    for metric in catalogue.metrics():
        suffixes = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
        names |= {metric.name + suffix for suffix in suffixes}
    return names


def run(*command):
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, cwd=PROMETHEUS
    )


def expressions():
    """Every query of rules and dashboard, with where it stands."""
    for rule in rules():
        yield rule.get("alert") or rule["record"], rule["expr"]
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield f"panel {panel['title']}", target["expr"]
    for variable in dashboard["templating"]["list"]:
        yield f"variable {variable['name']}", str(variable.get("definition", ""))
    for annotation in dashboard["annotations"]["list"]:
        yield f"annotation {annotation['name']}", annotation["expr"]


@promtool
def test_rules_are_valid():
    done = run("promtool", "check", "rules", "--lint-fatal", RULES)
    assert done.returncode == 0, done.stdout + done.stderr


@promtool
def test_every_alert_fires_and_clears():
    done = run("promtool", "test", "rules", TESTS)
    assert done.returncode == 0, done.stdout + done.stderr


@promtool
def test_the_tests_notice_an_alert_that_cannot_fire(tmp_path):
    for alert in alerts():
        broken = yaml.safe_load(RULES.read_text())
        for group in broken["groups"]:
            for rule in group["rules"]:
                if rule.get("alert") == alert["alert"]:
                    rule["expr"] = f"({rule['expr']}) and vector(1) == 2"
        (tmp_path / RULES.name).write_text(yaml.safe_dump(broken))
        tests = yaml.safe_load(TESTS.read_text())
        tests["tests"] = [t for t in tests["tests"] if t["name"].startswith(f"{alert['alert']},")]
        (tmp_path / TESTS.name).write_text(yaml.safe_dump(tests))
        done = run("promtool", "test", "rules", tmp_path / TESTS.name)
        assert done.returncode == 1, f"{alert['alert']} can be broken unnoticed: {done.stdout}"


def test_each_alert_has_a_test_in_which_it_is_silent_fires_and_is_silent_again():
    shown = {}
    for test in yaml.safe_load(TESTS.read_text())["tests"]:
        for look in test.get("promql_expr_test", ()):
            if name := re.search(r'alertname="(\w+)"', look["expr"]):
                shown.setdefault((name[1], test["name"]), []).append(bool(look["exp_samples"]))
    assert {name for name, _ in shown} == {alert["alert"] for alert in alerts()}
    assert set(map(tuple, shown.values())) == {(False, True, False)}


def test_each_alert_says_what_is_wrong_and_what_to_do():
    names = [alert["alert"] for alert in alerts()]
    assert len(names) == len(set(names))
    for alert in alerts():
        assert alert["labels"]["severity"] in {"page", "ticket", "info"}
        assert set(alert["annotations"]) == {"summary", "action"}
        assert alert["annotations"]["summary"].endswith(".")


def test_every_metric_in_rules_and_dashboard_exists():
    names = exported()
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for where, expression in expressions():
        for name in METRIC.findall(RECORDED.sub("", expression)):
            assert name in names, f"{where}: no metric is called {name}"
        for name in RECORDED.findall(expression):
            assert name in recorded, f"{where}: nothing records {name}"


def test_labels_of_rules_are_those_of_the_catalogue():
    known = {label for metric in catalogue.metrics() for label in metric.labels}
    known |= {"instance", "le", "job"}
    for where, expression in expressions():
        for group in re.findall(r"(?:by|on|group_left) \(([^)]*)\)", expression):
            used = {label.strip() for label in group.split(",")} - {""}
            assert used <= known, f"{where}: no metric has {used - known}"
    for alert in alerts():
        used = set(re.findall(r"\$labels\.(\w+)", str(alert["annotations"])))
        assert used <= known, f"{alert['alert']}: no metric has {used - known}"


def test_the_dashboard_is_whole():
    dashboard = json.loads(DASHBOARD.read_text())
    assert (dashboard["uid"], dashboard["title"]) == ("mdfeedd", "mdfeedd")
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    taken = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"{panel['title']} lies over another panel"
        taken |= cells
        if panel["type"] != "row":
            assert panel["description"]
            assert panel["targets"]
            refs = [target["refId"] for target in panel["targets"]]
            assert len(refs) == len(set(refs))
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]+)\}?", json.dumps(dashboard)))
    assert used <= variables | {"labels"}


BESIDE_THE_SCHEMA = {"definition", "titleFormat"}
"""What Grafana's Prometheus plug-in reads and the published model of a dashboard does not name."""


def left_out(given, kept, at=""):
    """Where `kept` lacks or alters what `given` says."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            if key in kept:
                yield from left_out(value, kept[key], f"{at}.{key}")
            elif key not in BESIDE_THE_SCHEMA:
                yield f"{at}.{key}"
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for i, pair in enumerate(zip(given, kept, strict=True)):
            yield from left_out(*pair, f"{at}[{i}]")
    elif given != kept:
        yield at


def as_grafana_takes_it(dashboard):
    """Through Grafana's own published model of a dashboard and its panels."""
    pytest.importorskip("grafana_foundation_sdk")
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()
    return json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))


def test_grafana_takes_every_key_of_the_dashboard_as_it_is():
    dashboard = json.loads(DASHBOARD.read_text())
    assert list(left_out(dashboard, as_grafana_takes_it(dashboard))) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [("tilte", "x"), ("gridPos", {"hight": 3}), ("fieldConfig", {"defaults": {"unti": "s"}})],
)
def test_a_key_that_grafana_does_not_know_is_found(key, value):
    dashboard = json.loads(DASHBOARD.read_text())
    panel = next(panel for panel in dashboard["panels"] if panel["type"] != "row")
    panel[key] = panel.get(key, {}) | value if isinstance(value, dict) else value
    (place,) = left_out(dashboard, as_grafana_takes_it(dashboard))
    assert f".{key}" in place


def test_the_provisioning_names_a_file_provider():
    provisioning = yaml.safe_load((DASHBOARD.parent / "provisioning.yml").read_text())
    (provider,) = provisioning["providers"]
    assert (provisioning["apiVersion"], provider["type"]) == (1, "file")
    assert provider["options"]["path"].startswith("/")


def test_the_reference_is_that_of_this_catalogue():
    written = (ROOT / "mdfeedd" / "docs" / "metrics.md").read_text()
    assert written == page(), (
        "write it again: python -m mdfeedd.daemon.metrics_page > mdfeedd/docs/metrics.md"
    )
    for metric in catalogue.metrics():
        assert f"| `{metric.name}` | {metric.kind} |" in written
