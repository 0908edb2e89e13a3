// The server's time now, from the `Date` header of its answers. The clock of the device is not used: it may be
// minutes off, and may be set while the page waits.

const HEADER_STEP_MS = 1_000;

export class ServerClock {
  /** Between which bounds the server's time is ahead of the device's monotonic clock, in milliseconds. */
  private low = -Infinity;
  private high = Infinity;

  /**
   * An answer to a request sent at `sent` came at `received`. The header has whole seconds, cut off, and was
   * written between both; several answers narrow the bounds.
   */
  hears(date: string | null, sent: number, received: number): void {
    const second = date === null ? NaN : Date.parse(date);
    if (Number.isNaN(second)) return;
    const low = second - received;
    const high = second + HEADER_STEP_MS - sent;
    // Bounds that exclude the old ones: the device slept, or a clock was set. Only the newest answer counts then.
    const isNews = high < this.low || this.high < low;
    this.low = isNews ? low : Math.max(this.low, low);
    this.high = isNews ? high : Math.min(this.high, high);
  }

  /** Milliseconds since 1970; the time of the device as long as no answer had a date. */
  now(): number {
    return this.high === Infinity ? Date.now() : monotonic() + (this.low + this.high) / 2;
  }
}

/** Milliseconds that no setting of the device's clock changes. */
export function monotonic(): number {
  return performance.now();
}
