"""The XML documents of UWS 1.1 (schema http://www.ivoa.net/xml/UWS/v1.0)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from xml.etree.ElementTree import Element, SubElement, register_namespace, tostring

from .model import Job, Phase

UWS = "http://www.ivoa.net/xml/UWS/v1.0"
XLINK = "http://www.w3.org/1999/xlink"
XSI = "http://www.w3.org/2001/XMLSchema-instance"

register_namespace("uws", UWS)
register_namespace("xlink", XLINK)
register_namespace("xsi", XSI)


def timestamp(moment: datetime) -> str:
    """Write a time as DALI wants it: UTC, milliseconds, Z."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _document(root: Element) -> bytes:
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="utf-8")


def _optional(parent: Element, name: str, value: str | None) -> None:
    element = SubElement(parent, f"{{{UWS}}}{name}")
    if value is None:
        element.set(f"{{{XSI}}}nil", "true")
    else:
        element.text = value


def jobs_document(jobs: Iterable[Job], base: str) -> bytes:
    """Return the job list (UWS 1.1, section 2.2.2.1)."""
    root = Element(f"{{{UWS}}}jobs", {"version": "1.1"})
    for job in jobs:
        reference = SubElement(
            root, f"{{{UWS}}}jobref", {"id": job.id, f"{{{XLINK}}}href": f"{base}/async/{job.id}"}
        )
        SubElement(reference, f"{{{UWS}}}phase").text = job.phase.value
        if job.run_id:
            SubElement(reference, f"{{{UWS}}}runId").text = job.run_id
        SubElement(reference, f"{{{UWS}}}creationTime").text = timestamp(job.created)
    return _document(root)


def job_document(job: Job, base: str) -> bytes:
    """Return a job (UWS 1.1, section 2.2.2.2)."""
    root = Element(f"{{{UWS}}}job", {"version": "1.1"})
    SubElement(root, f"{{{UWS}}}jobId").text = job.id
    if job.run_id:
        SubElement(root, f"{{{UWS}}}runId").text = job.run_id
    _optional(root, "ownerId", None)
    SubElement(root, f"{{{UWS}}}phase").text = job.phase.value
    _optional(root, "quote", None)
    SubElement(root, f"{{{UWS}}}creationTime").text = timestamp(job.created)
    _optional(root, "startTime", timestamp(job.started) if job.started else None)
    _optional(root, "endTime", timestamp(job.ended) if job.ended else None)
    SubElement(root, f"{{{UWS}}}executionDuration").text = str(job.execution_duration)
    SubElement(root, f"{{{UWS}}}destruction").text = timestamp(job.destruction)
    _parameters(root, job)
    _results(root, job, base)
    if job.error:
        summary = SubElement(root, f"{{{UWS}}}errorSummary", {"type": "fatal", "hasDetail": "true"})
        SubElement(summary, f"{{{UWS}}}message").text = job.error
    return _document(root)


def parameters_document(job: Job) -> bytes:
    """Return a job's parameters."""
    root = Element("holder")
    return _document(_parameters(root, job))


def results_document(job: Job, base: str) -> bytes:
    """Return a job's list of results."""
    root = Element("holder")
    return _document(_results(root, job, base))


def _parameters(parent: Element, job: Job) -> Element:
    element = SubElement(parent, f"{{{UWS}}}parameters")
    for name, value in job.parameters:
        SubElement(element, f"{{{UWS}}}parameter", {"id": name}).text = value
    return element


def _results(parent: Element, job: Job, base: str) -> Element:
    element = SubElement(parent, f"{{{UWS}}}results")
    if job.phase is Phase.COMPLETED:
        SubElement(
            element,
            f"{{{UWS}}}result",
            {
                "id": "result",
                f"{{{XLINK}}}href": f"{base}/async/{job.id}/results/result",
                "mime-type": job.content_type or "application/x-votable+xml",
            },
        )
    return element
