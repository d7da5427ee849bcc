"""OpenTelemetry's OTLP as JSON lines (OpenTelemetry Protocol, JSON Protobuf Encoding; File Exporter): one TracesData
for each command, in which each process is a resource.
"""

from __future__ import annotations

from ocirt import __version__
from ocirt.config import jsontext
from ocirt.trace.spans import Process, Span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STARTS = '{"resourceSpans":['
HEAD = ""
BETWEEN = TAIL = "\n"
INTERNAL = 1  # SpanKind
ERROR = 2  # StatusCode


def event(process: Process, span: Span) -> str:
    numbers = {"ocirt.cpu_ns": span.cpu, "ocirt.blocked_ns": span.blocked}
    texts = {"ocirt.kind": span.kind, "ocirt.place": span.place, "ocirt.pointer": span.at}
    document: dict[str, Any] = {
        "traceId": process.trace_id,
        "spanId": span.id,
        "parentSpanId": span.parent,
        "name": span.name,
        "kind": INTERNAL,
        "startTimeUnixNano": str(span.start),
        "endTimeUnixNano": str(span.end),
        "attributes": [
            *(_attribute(name, "stringValue", text) for name, text in texts.items() if text),
            *(_attribute(name, "intValue", str(number)) for name, number in numbers.items() if number is not None),
        ],
    }
    if span.error:
        document["status"] = {"code": ERROR, "message": span.error}
    return jsontext.dump(document)


def _attribute(name: str, kind: str, value: str) -> dict[str, Any]:
    return {"key": name, "value": {kind: value}}


def join(processes: list[Process], parts: list[list[str]]) -> str:
    """The line.  Each process's name is an attribute of its resource."""
    resources = []
    for process, spans in zip(processes, parts, strict=True):
        attributes = [
            _attribute("service.name", "stringValue", "ocirt"),
            _attribute("service.version", "stringValue", __version__),
            _attribute("process.pid", "intValue", str(process.pid)),
            _attribute("process.command", "stringValue", process.name),
        ]
        scope = f'"scope":{{"name":"ocirt"}},"spans":[{",".join(spans)}]'
        resource = f'"resource":{{"attributes":{jsontext.dump(attributes)}}}'
        resources.append(f'{{{resource},"scopeSpans":[{{{scope}}}]}}')
    return f"{STARTS}{','.join(resources)}]}}"


def read(value: object) -> list[Process]:
    """Inverse of join(), as far as a chart needs it.  Raises KeyError, TypeError, ValueError for what is none."""
    found = []
    resources: list[Any] = value["resourceSpans"] if isinstance(value, dict) else []
    for resource in resources:
        about = _values(resource["resource"])
        spans = [_span(span) for scope in resource["scopeSpans"] for span in scope["spans"]]
        if spans:
            trace_id = str(resource["scopeSpans"][0]["spans"][0]["traceId"])
            found.append(Process(spans[0].name, int(about["process.pid"]), trace_id, spans))
    return found


def _values(document: dict[str, Any]) -> dict[str, str]:
    return {
        str(one["key"]): str(next(iter(one["value"].values()))) for one in document["attributes"] if one.get("value")
    }


def _span(document: dict[str, Any]) -> Span:
    about = _values(document)
    cpu = about.get("ocirt.cpu_ns")
    return Span(
        about["ocirt.kind"],
        str(document["name"]),
        int(document["startTimeUnixNano"]),
        int(document["endTimeUnixNano"]),
        None if cpu is None else int(cpu),
        place=about.get("ocirt.place", ""),
        at=about.get("ocirt.pointer", ""),
        error=str(document.get("status", {}).get("message", "")),
    )
