// The coupon: its code, and a QR code of it, drawn here and not fetched from anywhere.
import qrcode from "qrcode-generator";
import { useMemo } from "preact/hooks";
import type { Claimed } from "../shared/types";
import { words } from "./words";

/** Modules of nothing around it, which readers need. */
const QUIET = 4;

export function Coupon({ claimed }: { claimed: Claimed }) {
  const { path, size } = useMemo(() => modulesOf(claimed.code), [claimed.code]);
  return (
    <div class="coupon">
      <svg viewBox={`0 0 ${size} ${size}`} role="img" aria-label={words.qr(claimed.code)} shape-rendering="crispEdges">
        <rect width={size} height={size} fill="#fff" />
        <path d={path} fill="#000" />
      </svg>
      <div>
        <p class="quiet">{words.code}</p>
        <code data-testid="code">{claimed.code}</code>
      </div>
      <p class="quiet">{words.show}</p>
    </div>
  );
}

function modulesOf(code: string): { path: string; size: number } {
  const qr = qrcode(0, "M");
  qr.addData(code, "Alphanumeric");
  qr.make();
  const count = qr.getModuleCount();
  let path = "";
  for (let row = 0; row < count; row++) {
    for (let column = 0; column < count; column++) {
      if (qr.isDark(row, column)) path += `M${column + QUIET} ${row + QUIET}h1v1h-1z`;
    }
  }
  return { path, size: count + 2 * QUIET };
}
