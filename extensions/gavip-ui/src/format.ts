// Numbers with units and times in local time with UTC beside it.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"] as const;

/** Bytes in binary units (IEC 80000-13), as gavip_api.resources.human_size. */
export function formatSize(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? value.toFixed(0) : value.toFixed(1)} ${UNITS[unit]}`;
}

/** Seconds as people say them: 42 s, 3 min 05 s, 2 h 10 min. */
export function formatDuration(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, "0")} s`;
  if (s < 86_400)
    return `${Math.floor(s / 3600)} h ${String(Math.floor((s % 3600) / 60)).padStart(2, "0")} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

/** A time in UTC: 2026-11-21 20:15:09 UTC. */
export function formatUtc(iso: string): string {
  const date = new Date(iso);
  return Number.isNaN(date.getTime())
    ? iso
    : `${date.toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

/** A time in the reader's zone and language. */
export function formatLocal(iso: string, locale?: string): string {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return iso;
  return date.toLocaleString(locale, { dateStyle: "medium", timeStyle: "short" });
}

/** A time in the reader's zone with UTC beside it: `Nov 21, 2026, 9:15 PM (20:15 UTC)`. */
export function formatLocalAndUtc(iso: string, locale?: string): string {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return iso;
  const local = formatLocal(iso, locale);
  if (date.getTimezoneOffset() === 0) return `${local} UTC`;
  const utc = date.toISOString();
  const day = date.getDate() === date.getUTCDate() ? "" : `${utc.slice(0, 10)} `;
  return `${local} (${day}${utc.slice(11, 16)} UTC)`;
}

/** How long ago, coarsely. */
export function formatAgo(iso: string, now: number = Date.now()): string {
  const seconds = (now - new Date(iso).getTime()) / 1000;
  if (Number.isNaN(seconds)) return iso;
  if (seconds < 10) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}

/** Fills every <time data-format> below `root`: local time as text, UTC as title and for screen readers. */
export function localizeTimes(root: ParentNode = document): void {
  for (const element of root.querySelectorAll<HTMLTimeElement>("time[datetime][data-format]")) {
    const iso = element.dateTime;
    element.textContent =
      element.dataset["format"] === "ago" ? formatAgo(iso) : formatLocalAndUtc(iso);
    element.title = formatUtc(iso);
  }
}

/** Seconds a job still needs, judged from what it has done; null while that would be a guess. */
export function estimateRemaining(fraction: number, elapsedSeconds: number): number | null {
  if (fraction <= 0.02 || fraction >= 1 || elapsedSeconds < 3) return null;
  return (elapsedSeconds * (1 - fraction)) / fraction;
}
