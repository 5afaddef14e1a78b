"""What the service says of itself: VOSI 1.1 availability, capabilities and tables, with TAPRegExt 1.0."""

from __future__ import annotations

from datetime import datetime, timezone
from xml.etree.ElementTree import Element, SubElement, register_namespace, tostring

from gavip_archive.adql.functions import FUNCTIONS
from gavip_archive.errors import NoSuchResource
from gavip_archive.formats.registry import FORMATS
from gavip_archive.tableset import Schema, Table
from gavip_archive.uws.xml import XSI, timestamp

from .base import Archive, ArchiveHandler, TextErrorHandler

_CAPABILITIES = "http://www.ivoa.net/xml/VOSICapabilities/v1.0"
_AVAILABILITY = "http://www.ivoa.net/xml/VOSIAvailability/v1.0"
_TABLES = "http://www.ivoa.net/xml/VOSITables/v1.0"
_VODATASERVICE = "http://www.ivoa.net/xml/VODataService/v1.1"
_TAPREGEXT = "http://www.ivoa.net/xml/TAPRegExt/v1.0"
_FEATURES = "ivo://ivoa.net/std/TAPRegExt#features"

register_namespace("vosi", _CAPABILITIES)
register_namespace("avl", _AVAILABILITY)
register_namespace("vtm", _TABLES)

_GEOMETRY = (
    "POINT",
    "CIRCLE",
    "BOX",
    "POLYGON",
    "CONTAINS",
    "INTERSECTS",
    "DISTANCE",
    "AREA",
    "COORD1",
    "COORD2",
    "COORDSYS",
)
_OPTIONAL_FEATURES = {
    "adqlgeo": _GEOMETRY,
    "adql-string": ("LOWER", "UPPER", "ILIKE"),
    "adql-sets": ("UNION", "EXCEPT", "INTERSECT"),
    "adql-common-table": ("WITH",),
    "adql-type": ("CAST",),
    "adql-offset": ("OFFSET",),
}


def _document(root: Element, **prefixes: str) -> bytes:
    # ElementTree declares only namespaces of names; these occur in xsi:type values
    for prefix, uri in prefixes.items():
        root.set(f"xmlns:{prefix}", uri)
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="utf-8")


def capabilities_document(archive: Archive) -> bytes:
    """Return the capabilities (VOSI 1.1, section 2; TAPRegExt 1.0)."""
    root = Element(f"{{{_CAPABILITIES}}}capabilities")
    tap = SubElement(
        root,
        "capability",
        {"standardID": "ivo://ivoa.net/std/TAP", f"{{{XSI}}}type": "tr:TableAccess"},
    )
    interface = SubElement(
        tap, "interface", {"role": "std", f"{{{XSI}}}type": "vs:ParamHTTP", "version": "1.1"}
    )
    SubElement(interface, "accessURL", {"use": "base"}).text = archive.base
    _language(tap)
    for each in FORMATS:
        output = SubElement(tap, "outputFormat")
        SubElement(output, "mime").text = each.content_type
        for alias in each.aliases:
            SubElement(output, "alias").text = alias
    # TAP 1.1, section 2.7.6, makes the http scheme part of every service with uploads. Which addresses are fetched is
    # policy: without an operator's list none is, and the error says so.
    for method in ("inline", *sorted(archive.fetcher.schemes | {"http"})):
        SubElement(tap, "uploadMethod", {"ivo-id": f"ivo://ivoa.net/std/TAPRegExt#upload-{method}"})
    limits = archive.limits
    _bounds(tap, "retentionPeriod", limits.retention_default, limits.retention_max)
    _bounds(tap, "executionDuration", limits.execution_default, limits.execution_max)
    _bounds(tap, "outputLimit", limits.max_rows, limits.max_rows, unit="row")
    _bounds(tap, "uploadLimit", limits.upload_bytes, limits.upload_bytes, unit="byte")
    for standard, path in (
        ("ivo://ivoa.net/std/VOSI#capabilities", "capabilities"),
        ("ivo://ivoa.net/std/VOSI#availability", "availability"),
        ("ivo://ivoa.net/std/VOSI#tables-1.1", "tables"),
        ("ivo://ivoa.net/std/DALI#examples", "examples"),
    ):
        capability = SubElement(root, "capability", {"standardID": standard})
        kind = "vs:ParamHTTP" if path != "examples" else "vr:WebBrowser"
        described = SubElement(capability, "interface", {"role": "std", f"{{{XSI}}}type": kind})
        SubElement(described, "accessURL", {"use": "full"}).text = f"{archive.base}/{path}"
    return _document(
        root, vs=_VODATASERVICE, tr=_TAPREGEXT, vr="http://www.ivoa.net/xml/VOResource/v1.0"
    )


def _language(parent: Element) -> None:
    language = SubElement(parent, "language")
    SubElement(language, "name").text = "ADQL"
    for version in ("2.0", "2.1"):
        SubElement(
            language, "version", {"ivo-id": f"ivo://ivoa.net/std/ADQL#v{version}"}
        ).text = version
    SubElement(language, "description").text = (
        "ADQL 2.0 with the optional parts of 2.1 listed here. All positions are ICRS. POLYGON and BOX take constant"
        f" coordinates. Functions: {', '.join(sorted(FUNCTIONS))}."
    )
    for kind, forms in _OPTIONAL_FEATURES.items():
        features = SubElement(language, "languageFeatures", {"type": f"{_FEATURES}-{kind}"})
        for form in forms:
            SubElement(SubElement(features, "feature"), "form").text = form


def _bounds(
    parent: Element, name: str, default: int, hard: int, *, unit: str | None = None
) -> None:
    element = SubElement(parent, name)
    attributes = {"unit": unit} if unit else {}
    SubElement(element, "default", attributes).text = str(default)
    SubElement(element, "hard", attributes).text = str(hard)


def availability_document(since: datetime) -> bytes:
    """Return the availability (VOSI 1.1, section 3)."""
    root = Element(f"{{{_AVAILABILITY}}}availability")
    SubElement(root, f"{{{_AVAILABILITY}}}available").text = "true"
    SubElement(root, f"{{{_AVAILABILITY}}}upSince").text = timestamp(since)
    return _document(root)


def tables_document(schemas: tuple[Schema, ...], *, columns: bool) -> bytes:
    """Return all tables, with or without their columns (VOSI 1.1, section 4)."""
    root = Element(f"{{{_TABLES}}}tableset")
    for schema in schemas:
        element = SubElement(root, "schema")
        SubElement(element, "name").text = schema.name
        SubElement(element, "title").text = schema.title
        SubElement(element, "description").text = schema.description
        for table in schema.tables:
            _describe(SubElement(element, "table"), table, columns=columns)
    return _document(root, vs=_VODATASERVICE)


def table_document(table: Table) -> bytes:
    """Return one table with its columns."""
    root = Element(f"{{{_TABLES}}}table")
    _describe(root, table, columns=True)
    return _document(root, vs=_VODATASERVICE)


def _describe(element: Element, table: Table, *, columns: bool) -> None:
    element.set("type", "table")
    SubElement(element, "name").text = table.qualified
    SubElement(element, "description").text = table.description
    if not columns:
        return
    for column in table.columns:
        described = SubElement(element, "column", {"std": "true"} if column.std else {})
        SubElement(described, "name").text = column.adql_name
        for name, value in (
            ("description", column.description),
            ("unit", column.unit),
            ("ucd", column.ucd),
        ):
            if value:
                SubElement(described, name).text = value
        attributes = {f"{{{XSI}}}type": "vs:VOTableType"}
        if column.arraysize:
            attributes["arraysize"] = column.arraysize
        SubElement(described, "dataType", attributes).text = column.datatype
        for flag, present in (("indexed", column.indexed), ("principal", column.principal)):
            if present:
                SubElement(described, "flag").text = flag
    for key in table.keys:
        foreign = SubElement(element, "foreignKey")
        SubElement(foreign, "targetTable").text = key.target
        for source, target in key.columns:
            pair = SubElement(foreign, "fkColumn")
            SubElement(pair, "fromColumn").text = source
            SubElement(pair, "targetColumn").text = target
        if key.description:
            SubElement(foreign, "description").text = key.description


class CapabilitiesHandler(TextErrorHandler):
    """/tap/capabilities."""

    def get(self) -> None:
        """Return the capabilities."""
        self.answer(capabilities_document(self.archive), "text/xml; charset=UTF-8")


class AvailabilityHandler(TextErrorHandler):
    """/tap/availability."""

    started = datetime.now(timezone.utc)

    def get(self) -> None:
        """Return the availability."""
        self.answer(availability_document(self.started), "text/xml; charset=UTF-8")


class TablesHandler(TextErrorHandler):
    """/tap/tables and /tap/tables/NAME."""

    def get(self, name: str | None = None) -> None:
        """Return all tables, without columns for detail=min, or one."""
        if name:
            table = self.archive.tableset.table(name)
            if table is None:
                raise NoSuchResource(f"There is no table {name}.", hint="See /tap/tables.")
            self.answer(table_document(table), "text/xml; charset=UTF-8")
            return
        minimal = any(
            key.lower() == "detail" and value.lower() == "min" for key, value in self.pairs()
        )
        document = tables_document(self.archive.tableset.schemas, columns=not minimal)
        self.answer(document, "text/xml; charset=UTF-8")


class LandingHandler(ArchiveHandler):
    """/ and /tap: what a person gets who opens the service's address in a browser."""

    def get(self) -> None:
        """Send people to the examples, which explain the service."""
        self.see_other("/examples")
