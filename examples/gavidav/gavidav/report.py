"""The report of the pipeline, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone

import numpy as np

from .query import Cone
from .stars import Stars


def _row(name: str, values: np.ndarray, unit: str, digits: int) -> str:
    low, middle, high = np.nanpercentile(values, [16, 50, 84])
    return f"| {name} [{unit}] | {low:.{digits}f} | {middle:.{digits}f} | {high:.{digits}f} |"


def markdown(
    cone: Cone,
    query: str,
    archive: str,
    found: Stars,
    kept: Stars,
    min_snr: float,
    figures: Mapping[str, str],
) -> str:
    """Return the report.

    Parameters
    ----------
    cone, query, archive
        What was asked, how, and where.
    found, kept : Stars
        All rows, and those with good parallaxes.
    min_snr : float
        Least parallax over error of those kept.
    figures : mapping of str to str
        Names of the PNG files without suffix, and their captions.
    """
    known = int(np.isfinite(found.parallax).sum())
    pictures = "\n\n".join(
        f"![{caption}]({name}.png)\n\n*{caption}*" for name, caption in figures.items()
    )
    return f"""# Stars around RA {cone.ra:g}°, Dec {cone.dec:+g}°

Radius {cone.radius:g}°, G ≤ {cone.g_max:g} mag. Made {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC by GAVIP's
`gavidav`, pipeline `hr-diagram`.

| | stars |
|---|---|
| in the cone | {len(found):,} |
| with a parallax | {known:,} |
| with a parallax of at least {min_snr:g} times its error | {len(kept):,} |

| of the last | 16 % | median | 84 % |
|---|---|---|---|
{_row("Distance", kept.distance, "pc", 1)}
{_row("Absolute magnitude M_G", kept.absolute_g, "mag", 2)}
{_row("Colour BP − RP", kept.colour, "mag", 2)}
{_row("Tangential velocity", kept.tangential_velocity, "km/s", 1)}

{pictures}

## Method

Distances are 1/ϖ, which is only sensible for small relative errors (Luri et al. 2018, A&A 616, A9). Absolute magnitudes
are G + 5 log10(ϖ/mas) − 10 without correction for extinction (Babusiaux et al. 2018, A&A 616, A10). Tangential
velocities are 4.74 μ/ϖ. The table is in `stars.fits`.

Archive: {archive}. Its column descriptions say where each value comes from: GAVIP's embedded archive, for one, gives
the parallaxes and proper motions of Hipparcos-2 (van Leeuwen 2007, A&A 474, 653).

```sql
{query}
```

This work has made use of data from the European Space Agency (ESA) mission Gaia (https://www.cosmos.esa.int/gaia),
processed by the Gaia Data Processing and Analysis Consortium (DPAC).
"""
