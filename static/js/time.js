// Times in words, as views/time.go says them.

// relative says how long before now then was; both in milliseconds.
export function relative(now, then) {
  const seconds = Math.trunc((now - then) / 1000);
  const count = (n, unit) => (n === 1 ? `1 ${unit} ago` : `${n} ${unit}s ago`);
  const whole = (unit) => Math.trunc(seconds / unit);
  if (seconds < 5) return "just now";
  if (seconds < 60) return count(seconds, "second");
  if (seconds < 3600) return count(whole(60), "minute");
  if (seconds < 86400) return count(whole(3600), "hour");
  if (seconds < 30 * 86400) return count(whole(86400), "day");
  if (seconds < 365 * 86400) return count(whole(30 * 86400), "month");
  return count(whole(365 * 86400), "year");
}

// duration says milliseconds as a person reads them off a stopwatch.
export function duration(milliseconds) {
  const passed = Math.max(0, milliseconds);
  const seconds = Math.trunc(passed / 1000);
  const two = (n) => String(n).padStart(2, "0");
  if (passed < 10000) return `${(Math.trunc(passed / 100) / 10).toFixed(1)} s`;
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.trunc(seconds / 60)} min ${two(seconds % 60)} s`;
  return `${Math.trunc(seconds / 3600)} h ${two(Math.trunc(seconds / 60) % 60)} min`;
}
