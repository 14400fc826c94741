"""What the guide for operators shows: alarms about metrics that there are, each with something to do about it."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any, Final

import pytest
import yaml

from reliability.serving import ROOT
from yugen.cli.main import make_parser
from yugen.runtime.limits import RunLimits
from yugen.server.health import HEALTH, READY
from yugen.server.limits import Limits, parse
from yugen.server.metrics import METRICS

FOLDER: Final = ROOT / "examples/operations"
PAGE: Final = (ROOT / "docs/operations.md").read_text()
ALERTS: Final[list[dict[str, Any]]] = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]

STATED_SECONDS: Final = 10.0
"""What the page states, beside what is set: the end of requests, goodbyes and what is told elsewhere."""

OF_A_HISTOGRAM: Final = re.compile(r"_(?:bucket|sum|count)$")


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alarm_is_about_metrics_that_there_are_and_says_what_to_do(rule: dict[str, Any]) -> None:
    for name, labels in re.findall(r"\b((?:yugen|process)_\w+)(?:\{(.*?)\})?", rule["expr"]):
        described = METRICS.get(name) or METRICS[OF_A_HISTOGRAM.sub("", name)]
        assert (name in METRICS) != (described.type == "histogram")
        for label in re.findall(r"(\w+)=", labels):
            assert label in (*described.labels, "job")
    section = re.search(rf"^### {rule['alert']}\n\n(.+?)(?:\n\n|\Z)", PAGE, re.M | re.S)
    assert section is not None
    assert len(section[1]) > 100


def test_what_is_said_of_alarms_names_metrics_that_there_are() -> None:
    named = re.findall(r"`((?:yugen|process)_\w+)`", PAGE[PAGE.index("## Alarms") :])
    assert len(named) >= 5
    assert set(named) <= METRICS.keys()


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_a_rule_is_of_the_form_that_prometheus_reads(rule: dict[str, Any]) -> None:
    assert rule.keys() <= {"alert", "expr", "for", "labels"}
    assert rule["labels"] in ({"severity": "page"}, {"severity": "ticket"})
    assert re.fullmatch(r"\d+[mh]", rule.get("for", "1m"))
    assert rule["expr"].count("(") == rule["expr"].count(")")


def test_every_alarm_of_the_guide_is_one() -> None:
    assert re.findall(r"^### (Yugen\w+)$", PAGE, re.M) == [rule["alert"] for rule in ALERTS]


def test_every_metric_is_told_of() -> None:
    rows = re.findall(r"^\| `((?:yugen|process)_\w+)` \| (.*?) ?\| (.+) \|$", PAGE, re.M)
    assert [(name, re.findall(r"`(\w+)`", labels), help_) for name, labels, help_ in rows] == [
        (name, list(described.labels), described.help) for name, described in METRICS.items()
    ]


def test_prometheus_asks_as_it_must() -> None:
    [scrape] = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    assert (scrape["metrics_path"], scrape["authorization"]["type"]) == ("/metrics", "Convex")


def test_the_service_runs_a_command_that_there_is() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # names of systemd have capitals
    unit.read(FOLDER / "yugen.service")
    _, *words = shlex.split(unit["Service"]["ExecStart"])
    assert make_parser().parse_args(words).data is not None
    # It is not killed before it has ended by itself.
    limits = RunLimits()
    assert int(unit["Service"]["TimeoutStopSec"]) > limits.shutdown_seconds + limits.cleanup_seconds + STATED_SECONDS


def test_a_pod_runs_a_command_that_there_is_and_is_asked_what_there_is() -> None:
    workload = yaml.safe_load((FOLDER / "kubernetes.yml").read_text())["spec"]
    assert workload["replicas"] == 1  # the data is of one server at a time
    pod = workload["template"]["spec"]
    [container] = pod["containers"]
    options = make_parser().parse_args(container["args"][1:])
    limits = Limits.of(parse(options.limits))
    assert limits.server.notice_seconds > container["readinessProbe"]["periodSeconds"]
    stopping = limits.server.notice_seconds + limits.run.shutdown_seconds + limits.run.cleanup_seconds
    assert pod["terminationGracePeriodSeconds"] >= stopping + STATED_SECONDS
    asked = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")}
    assert asked == {"startup": READY, "readiness": READY, "liveness": HEALTH}
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == [str(options.data)]


def dockerfile(instruction: str) -> list[str]:
    found = re.search(rf"^{instruction} (\[.*\])$", (FOLDER / "Dockerfile").read_text(), re.M)
    assert found is not None
    command: list[str] = json.loads(found[1])
    return command


def test_a_container_runs_a_command_that_there_is() -> None:
    options = make_parser().parse_args(dockerfile("CMD")[1:])
    assert f"VOLUME {options.data}\n" in (FOLDER / "Dockerfile").read_text()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_a_container_is_well_when_its_server_is(status: int, code: int) -> None:
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    _, *arguments = dockerfile("HEALTHCHECK CMD")
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        answering = Thread(target=server.handle_request)
        answering.start()
        command = [sys.executable, *(each.replace("3210", str(server.server_port)) for each in arguments)]
        assert subprocess.run(command, check=False, capture_output=True).returncode == code
        answering.join()
    assert asked == [HEALTH]


def test_what_stopping_takes_is_said() -> None:
    assert f"The last step takes {STATED_SECONDS:g} seconds at most" in PAGE
