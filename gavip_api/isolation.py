"""What keeps one origin of the platform apart from all others in the browser: headers of hub, services, AVIs and proxy.

Invariant: an AVI's page talks to its own server only, as far as a header can see to that.
"""

from __future__ import annotations

from collections.abc import Iterable

PERMISSIONS_POLICY = ", ".join(
    f"{feature}=()"
    for feature in (
        "accelerometer", "bluetooth", "camera", "display-capture", "geolocation", "gyroscope", "hid", "idle-detection",
        "local-fonts", "magnetometer", "microphone", "midi", "payment", "publickey-credentials-get",
        "screen-wake-lock", "serial", "storage-access", "usb", "window-management", "xr-spatial-tracking",
    )
)  # fmt: skip
"""No page of the platform needs a device, nor a permission that the browser would ask for."""

ISOLATION_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-DNS-Prefetch-Control": "off",
    # cuts the handle of a window that was opened from another origin, or opened one (HTML, section 7.1.3)
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # takes document.domain away, which would make siblings one origin (HTML, section 7.1.2)
    "Origin-Agent-Cluster": "?1",
    "Permissions-Policy": PERMISSIONS_POLICY,
}
"""What every answer to a browser carries besides its content policy."""

LAB_HEADERS = {k: v for k, v in ISOLATION_HEADERS.items() if k != "Permissions-Policy"}
"""What JupyterLab carries: people may want their camera in a notebook of their own."""

FOREIGN_TO_AVIS = (
    "access-control-", "alt-svc", "clear-site-data", "link", "nel", "report", "service-worker-allowed", "sourcemap",
    "speculation-rules",
)  # fmt: skip
"""Beginnings of the names of headers that no answer of an AVI may carry: they reach beyond its own pages."""


def avi_policy(frame_ancestors: str) -> str:
    """Return the Content-Security-Policy (level 3) of an AVI's page.

    Voilà's pages hold inline scripts and its bundles use ``eval`` (webpack, ajv), so scripts are not restricted beyond
    their origin; what is restricted is where a page can talk to (its own server only) and who may frame it. Workers
    come from ``blob:`` only, which excludes service workers: one would outlive the instance.
    """
    directives = {
        "default-src": "'self'",
        "script-src": "'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "media-src": "'self' data: blob:",
        "worker-src": "blob:",
        "connect-src": "'self'",
        "object-src": "'none'",
        "base-uri": "'self'",
        "form-action": "'self'",
        # all but navigating the page that shows it in a frame, which a click would otherwise allow
        "sandbox": "allow-downloads allow-forms allow-modals allow-pointer-lock allow-popups"
        " allow-popups-to-escape-sandbox allow-same-origin allow-scripts",
        "frame-ancestors": frame_ancestors,
    }
    return "; ".join(f"{name} {sources}" for name, sources in directives.items())


def avi_headers(origins: Iterable[str]) -> dict[str, str]:
    """Return the other headers of an AVI's answers.

    A content policy cannot stop top-level navigation, WebRTC, DNS prefetch or preconnect. ``Connection-Allowlist``
    (WICG draft) does, in browsers that know it: the page reaches the origin that answered, and `origins`.

    Parameters
    ----------
    origins : iterable of str
        The platform's own origins, which links and the sign-in lead to.
    """
    patterns = [f'"{origin}/*"' for origin in origins]
    return {
        **ISOLATION_HEADERS,
        "Connection-Allowlist": f"({' '.join(['response-origin', *patterns])})",
        "Referrer-Policy": "same-origin",
    }
